/** Every flag of every command: without its value, with an empty one, and mistyped. Nobody is contacted in any case. */
import { describe, expect, test } from "vitest";
import { nameOf } from "../../src/cli/command.ts";
import { commands } from "../../src/cli/commands.ts";
import { clusterFlags } from "../../src/cli/flags.ts";
import { session } from "./session.ts";

const date = "12-02-2021-15-28-37";
const positionals: Readonly<Record<string, readonly string[]>> = {
  describe: [date],
  verify: [date],
  download: [date],
  delete: [date, "--yes"],
  completion: ["bash"],
  backup: ["create_s3_all_backups", "--namespace", "kaa"],
};
/** Where the empty value is none, as in kubectl. */
const mayBeEmpty = [...Object.keys(clusterFlags), "release-name-prefix"];

describe.each(commands.map(({ spec }) => [nameOf(spec), spec] as const))("%s", (name, spec) => {
  const nowhere = "Cluster" in spec.groups ? ["--kubeconfig", "/nowhere"] : [];
  const run = (...flags: readonly string[]) => session([name, ...(positionals[name] ?? []), ...nowhere, ...flags]);
  const flags = Object.values(spec.groups).flatMap((table) => Object.entries(table));
  const withValue = flags.filter(([, { type }]) => type !== "boolean").map(([flag]) => flag);

  test("a flag's missing value is a usage error (IN-01)", async () => {
    for (const flag of withValue) {
      const ran = await run(`--${flag}`);
      expect(ran, flag).toMatchObject({ code: 2, stdout: "" });
      expect(ran.stderr).toContain(`--${flag} needs a value`);
    }
  });

  test("an empty value is a usage error, but where it is none (IN-01)", async () => {
    for (const flag of withValue.filter((each) => !mayBeEmpty.includes(each))) {
      const ran = await run(`--${flag}=`);
      expect(ran, flag).toMatchObject({ code: 2, stdout: "" });
      expect(ran.stderr, flag).toMatch(new RegExp(`--${flag}\\b|keep-`));
    }
  });

  test("of a switch another value than true and false is a usage error (IN-01)", async () => {
    for (const [flag, { alias }] of flags.filter(([, { type }]) => type === "boolean")) {
      for (const given of [`--${flag}`, ...(alias === undefined ? [] : [`-${alias}`])]) {
        for (const value of ["client", "", "1", "True"]) {
          const ran = await run(`${given}=${value}`);
          expect(ran, given).toMatchObject({ code: 2, stdout: "" });
          expect(ran.stderr).toContain(`${given}: "${value}" is neither true nor false`);
        }
      }
    }
  });

  test("an empty number beside other flags is a usage error (IN-01)", async () => {
    for (const [flag] of flags.filter(([, { type }]) => type === "number")) {
      for (const given of [[`--${flag}=`], [`--${flag}`, ""], [`--${flag}`, " "]]) {
        const ran = await run("--keep-weekly", "4", ...given, "--local");
        expect(ran, flag).toMatchObject({ code: 2, stdout: "" });
        expect(ran.stderr).toContain(`--${flag}: the value is empty`);
      }
    }
  });

  test("an unknown flag is a usage error that names the nearest (IN-01)", async () => {
    for (const [flag] of flags.filter(([each]) => each.length > 3)) {
      const ran = await run(`--${flag}x`);
      expect(ran, flag).toMatchObject({ code: 2, stdout: "" });
      expect(ran.stderr).toContain(`unknown flag --${flag}x\n  try:    did you mean --`);
    }
    expect((await run("--quite-another-thing")).stderr).toContain(
      "unknown flag --quite-another-thing\n  try:    kubectl",
    );
  });
});

test.each([
  [["nonsense"], /there is no command "nonsense"/],
  [["crate"], /did you mean create\?/],
  [["list", "twice"], /list takes no argument "twice"/],
  [["describe"], /describe needs <date>/],
  [["verify", date, date], /verify takes no argument/],
  [["create", "--storage", ","], /--storage: the name of a storage is empty/],
  [["restore", "--storage", "mariadb, ", "--date", date, "--yes"], /--storage: the name of a storage is empty/],
])("%j is a usage error (IN-01)", async (argv, message) => {
  const ran = await session(argv);
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toMatch(message);
});
