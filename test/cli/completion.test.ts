/** Completion: the protocol of `__complete`, and the shells that speak it. */
import { execFile, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { oldCommands } from "../../src/drivers/old-names.ts";
import { driverNames } from "../../src/drivers/registry.ts";
import { FakeApiServer } from "../fakes/api-server.ts";
import { FakeS3, refuse } from "../fakes/s3-server.ts";
import { PseudoTerminal } from "../fakes/terminal.ts";
import { session } from "./session.ts";

const pod = (namespace: string) => ({ namespace, name: "kaa-0", labels: {}, env: {} });
const cluster = new FakeApiServer([pod("production-kaa"), pod("stage-kaa"), pod("other")]);
const s3 = new FakeS3();
const folder = mkdtempSync(join(tmpdir(), "kaa-completion-"));
const local = join(folder, "snapshots");

beforeAll(async () => {
  await Promise.all([cluster.start(), s3.start()]);
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "a-secret-that-must-not-leak");
  const bucket = s3.bucket("storage-backup--production-kaa");
  for (const name of ["12-02-2021-15-28-37.tar.gz", "01-03-2021-00-00-00.partial.tar.gz"]) bucket.plant(name, "1234");
  mkdirSync(local);
  writeFileSync(join(local, "24-12-2020-00-00-00.tar.gz"), "1234");
  mkdirSync(join(folder, "bin"));
  const program = join(folder, "bin", "kubectl-kaa_backup");
  const sources = fileURLToPath(new URL("../../plugin/kubectl-kaa_backup.ts", import.meta.url));
  writeFileSync(program, `#!/bin/sh\nexec '${process.execPath}' --no-warnings '${sources}' "$@"\n`);
  chmodSync(program, 0o755);
});
afterEach(() => {
  cluster.requestFault = () => undefined;
  s3.clearFaults();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await Promise.all([cluster.stop(), s3[Symbol.asyncDispose]()]);
  rmSync(folder, { recursive: true });
});

/** @returns candidates without their descriptions, and the directive. */
async function completed(...words: readonly string[]): Promise<readonly string[]> {
  const ran = await session(["__complete", ...words], { KUBECONFIG: cluster.kubeconfig, AWS_ENDPOINT_URL: s3.url });
  expect(ran).toMatchObject({ code: 0, stderr: "" });
  expect(ran.stdout).toMatch(/^:\d+\n$/m);
  return ran.stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t")[0] ?? "");
}

const none = [":4"];

test.each<readonly [words: readonly string[], wanted: readonly string[]]>([
  [["cr"], ["create", ":4"]],
  [["nonsense", ""], none],
  [
    ["create", "--dry"],
    ["--dry-run", ":4"],
  ],
  [["create", "--dry-run", "--dry"], none],
  [
    ["create", "--compression", ""],
    ["auto", "pod", "client", ":4"],
  ],
  [
    ["create", "--compression=c"],
    ["client", ":4"],
  ],
  [["create", "--parallelism", ""], none],
  [
    ["create", "--storage", "po"],
    ["postgresql", ":6"],
  ],
  [
    ["create", "--storage", "mariadb,vault,m"],
    ["mariadb,vault,minio", "mariadb,vault,mongodb", ":6"],
  ],
  [
    ["list", "-o", "js"],
    ["json", "jsonpath=", ":4"],
  ],
  [
    ["ls", "-o", "y"],
    ["yaml", ":4"],
  ],
  [
    ["--config", "create", "list", "--all-n"],
    ["--all-namespaces", ":4"],
  ],
  [["create", "--kubeconfig", ""], [":0"]],
  [["create", "--vault-token-file", ""], [":0"]],
  [["list", "--local", "--dir", ""], [":16"]],
  [
    ["schedule", ""],
    ["show", "run", "pause", "resume", ":4"],
  ],
  [["schedule", "pause", ""], none],
  [
    ["completion", "p"],
    ["powershell", ":4"],
  ],
  [
    ["--context", "f"],
    ["fake", ":4"],
  ],
  [
    ["create", "--cluster", ""],
    ["fake", ":4"],
  ],
  [
    ["backup", "restore_s3_open"],
    ["restore_s3_opendistro_backup", ":4"],
  ],
])("%j", async (words, wanted) => {
  expect(await completed(...words)).toEqual(wanted);
});

test("commands come with what they do; all storages and old commands are known", async () => {
  const ran = await session(["__complete", ""]);
  expect(ran.stdout).toMatch(/^create\tBack up storages into one snapshot$/m);
  expect(await completed("create", "--storage", "")).toEqual([...driverNames, ":6"]);
  expect(await completed("backup", "--namespace", "kaa", "")).toEqual([...oldCommands.keys(), ":4"]);
});

test("no candidate brings an escape sequence into the terminal", async () => {
  const kubeconfig = join(folder, "hostile");
  writeFileSync(kubeconfig, JSON.stringify({ contexts: [{ name: "a\u001b[2Jb", context: {} }] }));
  expect(await completed("list", "--kubeconfig", kubeconfig, "--context", "")).toEqual(["a\\u{1b}[2Jb", ":4"]);
});

describe("what is asked for", () => {
  test("namespaces are those of the cluster, or those of the contexts where they may not be listed", async () => {
    expect(await completed("create", "-n", "")).toEqual(["other", "production-kaa", "stage-kaa", ":4"]);
    expect(await completed("restore", "--source-namespace=p")).toEqual(["production-kaa", ":4"]);
    cluster.requestFault = () => ({ status: 403, body: '{"kind":"Status","message":"forbidden"}' });
    expect(await completed("create", "-n", "")).toEqual(["production-kaa", ":4"]);
  });

  test("contexts are those of all files of KUBECONFIG", async () => {
    const second = join(folder, "second");
    writeFileSync(second, JSON.stringify({ contexts: [{ name: "arn:aws:eks:eu:1:cluster/kaa", context: {} }] }));
    const ran = await session(["__complete", "list", "--context", ""], {
      KUBECONFIG: [cluster.kubeconfig, second].join(delimiter),
    });
    expect(ran.stdout).toBe("fake\narn:aws:eks:eu:1:cluster/kaa\n:4\n");
  });

  test.each([[["describe"]], [["verify"]], [["download"]], [["delete"]], [["restore", "--date"]]])(
    "%j is offered the snapshots, newest first",
    async (command) => {
      const dates = ["01-03-2021-00-00-00", "12-02-2021-15-28-37"];
      expect(await completed(...command, "")).toEqual([...dates, ":36"]);
      expect(await completed(...command, "12")).toEqual(["12-02-2021-15-28-37", ":36"]);
    },
  );

  test("dates are those of the place that the flags name", async () => {
    expect(await completed("describe", "-n", "stage-kaa", "")).toEqual([":36"]);
    const source = ["-n", "stage-kaa", "--source-namespace", "production-kaa"];
    expect(await completed("restore", ...source, "--date", "0")).toEqual(["01-03-2021-00-00-00", ":36"]);
    expect(await completed("verify", "--local", "--dir", local, "")).toEqual(["24-12-2020-00-00-00", ":36"]);
    const old = ["backup", "--dir", local, "--namespace", "kaa", "restore_local_all_backups", "--backup-date"];
    expect(await completed(...old, "")).toEqual(["24-12-2020-00-00-00", ":36"]);
    expect(await completed("delete", "12-02-2021-15-28-37", "")).toEqual(["01-03-2021-00-00-00", ":36"]);
    const { stdout } = await session(["__complete", "verify", "01"], {
      KUBECONFIG: cluster.kubeconfig,
      AWS_ENDPOINT_URL: s3.url,
      KAA_BACKUP_BUCKET: "storage-backup--production-kaa",
    });
    expect(stdout).toMatch(/^01-03-2021-00-00-00\tpartial, 4 B, \d+d\n/);
  });

  test("who does not answer in two and a half seconds, refuses, or cannot be found is passed over in silence", async () => {
    s3.fault({ operation: "ListObjectsV2", action: refuse(403, "AccessDenied"), times: Number.POSITIVE_INFINITY });
    expect(await completed("describe", "")).toEqual([":36"]);
    cluster.requestFault = () => "hang";
    const start = performance.now();
    expect(await completed("create", "-n", "")).toEqual(["production-kaa", ":4"]);
    expect(performance.now() - start).toBeLessThan(8000); // two and a half seconds, on a busy machine
    expect(await completed("create", "--kubeconfig", join(folder, "absent"), "-n", "")).toEqual(none);
    expect(await completed("create", "--config", join(folder, "absent"), "-n", "")).toEqual(["production-kaa", ":4"]);
  });
});

describe("shells", { timeout: 120_000 }, () => {
  const environment = () => ({
    PATH: `${join(folder, "bin")}:${process.env["PATH"]}`,
    HOME: folder,
    TERM: "xterm",
    KUBECONFIG: cluster.kubeconfig,
    AWS_ENDPOINT_URL: s3.url,
    AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
    AWS_SECRET_ACCESS_KEY: "a-secret-that-must-not-leak",
  });
  /** Each Tab is a start of the program from its sources, on a machine that may do much else. For what others must be asked
   *  that would be too slow: see above. */
  const slowMs = 50_000;
  const has = (shell: string) => spawnSync("sh", ["-c", `command -v ${shell}`]).status === 0;
  const script = async (shell: string) => {
    const ran = await session(["completion", shell]);
    expect(ran).toMatchObject({ code: 0, stderr: "" });
    const path = join(folder, `script.${shell}`);
    writeFileSync(path, ran.stdout);
    return path;
  };

  test("bash completes words, values behind =, and names with colons", async () => {
    const words = (line: string) => line.split(/([=:])| /).filter((each) => each !== undefined && each !== "");
    const second = join(folder, "colons");
    writeFileSync(
      second,
      JSON.stringify({
        contexts: [
          { name: "arn:aws:kaa", context: {} },
          { name: "it's $(date)", context: {} },
        ],
      }),
    );
    const attempts = [
      "kubectl-kaa_backup cr",
      "kubectl-kaa_backup create --compression=",
      "kubectl-kaa_backup create --compression=c",
      `kubectl-kaa_backup create --kubeconfig ${second} --context arn:aws:k`,
      `kubectl-kaa_backup create --kubeconfig ${second} --context i`,
    ];
    const lines = attempts.map((line) => {
      const typed = words(line).map((each) => `'${each}'`);
      return `COMP_LINE='${line}' COMP_WORDS=(${typed.join(" ")}) COMP_CWORD=${typed.length - 1}; _kubectl_kaa_backup_complete; echo "\${COMPREPLY[@]}"`;
    });
    // Outside a completion compopt fails, and says so.
    const text = `source '${await script("bash")}'; complete -p kubectl-kaa_backup; ${lines.join("\n")}`;
    const { stdout } = await promisify(execFile)("bash", ["--norc", "-c", text], { env: environment() });
    expect(stdout.split("\n")).toEqual([
      "complete -F _kubectl_kaa_backup_complete kubectl-kaa_backup",
      "create",
      "auto pod client",
      "client",
      "kaa",
      "it\\'s\\ \\$\\(date\\)",
      "",
    ]);
  });

  test("bash shows them when Tab is pressed", async () => {
    await using terminal = new PseudoTerminal(["bash", "--norc", "-i"], { env: { ...environment(), PS1: "> " } });
    await terminal.shows(">");
    terminal.press(`source '${await script("bash")}'; PS1='ready> '; clear\r`);
    await terminal.shows(/^ready>/m, slowMs);
    terminal.press("kubectl-kaa_backup cr\t");
    await terminal.shows("kubectl-kaa_backup create", slowMs);
    terminal.press("--compression=c\t");
    await terminal.shows("--compression=client", slowMs);
  });

  // CI installs what is missing elsewhere (.ci/run).
  test.skipIf(!has("zsh"))("zsh shows them when Tab is pressed", async () => {
    await using terminal = new PseudoTerminal(["zsh", "-f"], { env: { ...environment(), PS1: "> " } });
    await terminal.shows(">");
    terminal.press(`autoload -U compinit; compinit -D; source '${await script("zsh")}'; PS1='ready> '; clear\r`);
    await terminal.shows(/^ready>/m, slowMs);
    terminal.press("kubectl-kaa_backup cr\t");
    await terminal.shows("kubectl-kaa_backup create", slowMs);
    terminal.press("--compression=c\t");
    await terminal.shows("--compression=client", slowMs);
  });

  test.skipIf(!has("fish"))("fish is told them", async () => {
    const ask = ["kubectl-kaa_backup cr", "kubectl-kaa_backup create --compression=c"].map(
      (each) => `complete -C "${each}"`,
    );
    const text = `source '${await script("fish")}'; ${ask.join("; ")}`;
    const { stdout } = await promisify(execFile)("fish", ["--no-config", "-c", text], { env: environment() });
    expect(stdout).toBe("create\tBack up storages into one snapshot\n--compression=client\n");
  });

  test.skipIf(!has("kubectl"))("kubectl's own completion asks the helper", async () => {
    const helper = join(folder, "bin", "kubectl_complete-kaa_backup");
    writeFileSync(helper, (await session(["completion", "kubectl"])).stdout);
    chmodSync(helper, 0o755);
    const ask = async (...words: readonly string[]) =>
      (await promisify(execFile)("kubectl", ["__complete", "kaa-backup", ...words], { env: environment() })).stdout;
    expect(await ask("cr")).toBe("create\tBack up storages into one snapshot\n:4\n");
    expect(await ask("create", "--storage", "mariadb,v")).toBe("mariadb,vault\n:6\n");
  });

  test("each script is for the name that the program was called by", async () => {
    for (const shell of ["bash", "zsh", "fish", "powershell"]) {
      const ran = await session(["completion", shell], {}, { name: "backup" });
      expect(ran.stdout).toMatch(/\bbackup\b/);
      expect(ran.stdout).not.toContain("kubectl");
    }
  });
});
