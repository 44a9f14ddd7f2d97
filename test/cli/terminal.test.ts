/** Progress as a person sees it, on a real pseudo-terminal. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { PseudoTerminal } from "../fakes/terminal.ts";

const program = fileURLToPath(new URL("progress-main.ts", import.meta.url));

function show(
  options: {
    readonly flags?: readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    columns?: number;
  } = {},
) {
  const { flags = [], env = {}, columns = 100 } = options;
  return new PseudoTerminal([process.execPath, "--no-warnings", program, ...flags], { env, columns });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
const colors = /\x1b\[[0-9;]*[0-9]m/;

describe("on a terminal", () => {
  test("each storage has a line that is redrawn, and at the end a row of a table", async () => {
    await using terminal = show();
    const during = await terminal.shows(
      /^ {2}postgresql\/kaa-postgresql +dumping +[\d.]+ [KM]iB of about 953.7 MiB, /m,
    );
    expect(during).toMatch(/^\S 0 of 4 done, 1 failed, /m);
    expect(during).toMatch(/^ {2}minio\/kaa-minio +failed +pod is missing$/m);
    expect(during).toMatch(/^ {2}mariadb\/マリアデータ +waiting$/m);
    expect(during).toMatch(/[KM]iB\/s, .* left$/m);
    terminal.kill("SIGUSR2");
    expect(await terminal.end()).toMatchObject({ exitCode: 0 });
    const after = terminal.text;
    expect(after, "no moving line is left").not.toContain("of 4 done");
    expect(after).toMatch(/^STORAGE +STATE +BYTES +DURATION +RATE +CONTENTS$/m);
    expect(after).toMatch(/^postgresql\/kaa-postgresql +done +[\d.]+ MiB +\d+ s +[\d.]+ [KM]iB\/s +3 databases, .*$/m);
    expect(after).toMatch(/^vault\/\S+ +stopped /m);
    expect(after).toMatch(/^mariadb\/マリアデータ +not started +- +- +-$/m);
    expect(after).toMatch(/^minio\/kaa-minio +failed +0 B +0 s +-$/m);
    expect(after.endsWith("created")).toBe(true);
    expect(after).toContain("warning a warning");
  });

  test("columns stay in line behind names that take two columns a letter or are hostile", async () => {
    await using terminal = show();
    const text = await terminal.shows(/mariadb.*waiting/);
    const columnOf = (line: string | undefined, word: string) => {
      const before = line?.slice(0, line.indexOf(word)) ?? "";
      return before.length + (before.match(/[\u3000-\u9fff]/g) ?? []).length;
    };
    const lines = text.split("\n");
    const line = (name: string) => lines.find((each) => each.startsWith(`  ${name}`));
    expect(columnOf(line("mariadb"), "waiting")).toBe(columnOf(line("postgresql"), "dumping"));
    expect(line("vault")).toContain("vault/\\u{1b}[31mevil\\n\\u{202e}");
    expect(terminal.output).not.toContain("\u001b[31mevil");
  });

  test.each([40, 20])("lines are cut to a terminal of %i columns", async (columns) => {
    await using terminal = show({ columns });
    const text = await terminal.shows(/postgr.* du/);
    const block = text.slice(text.indexOf("of 4 done"));
    expect(block.split("\n").length, text).toBe(5);
  });

  test("a terminal that becomes narrower keeps what was above and shows each storage once", async () => {
    await using terminal = show({ columns: 110 });
    await terminal.shows(/KiB\/s|MiB\/s/);
    terminal.resize(50, 40);
    const text = await terminal.shows(/^ {2}postgresql\/k…[^ ]* +dumping.*…$/m);
    expect(text).toContain("failed minio/kaa-minio: pod is missing");
    expect(text).toContain("a note");
    expect(text.match(/of 4 done/g), text).toHaveLength(1);
    expect(text.match(/mariadb/g), text).toHaveLength(1);
    terminal.resize(110, 40);
    const wide = await terminal.shows(/^ {2}postgresql\/kaa-postgresql +dumping/m);
    expect(wide.match(/of 4 done/g), wide).toHaveLength(1);
  });
});

describe("colours", () => {
  const cases: readonly (readonly [string, readonly string[], Readonly<Record<string, string>>, boolean])[] = [
    ["on a terminal", [], {}, true],
    ["with NO_COLOR", [], { NO_COLOR: "1" }, false],
    ["with an empty NO_COLOR", [], { NO_COLOR: "" }, true],
    ["with --color never", ["--color", "never"], {}, false],
    ["with --color never and FORCE_COLOR", ["--color=never"], { FORCE_COLOR: "1" }, false],
    ["with --color always and NO_COLOR", ["--color", "always"], { NO_COLOR: "1" }, true],
    ["with FORCE_COLOR and NO_COLOR", [], { FORCE_COLOR: "1", NO_COLOR: "1" }, true],
    ["with FORCE_COLOR=0", [], { FORCE_COLOR: "0" }, false],
    ["on a dumb terminal", [], { TERM: "dumb" }, false],
    ["on a dumb terminal with --color always", ["--color", "always"], { TERM: "dumb" }, true],
  ];
  test.each(cases)("%s", async (_, flags, env, isColored) => {
    await using terminal = show({ flags, env });
    await terminal.shows("dumping");
    terminal.kill("SIGUSR2");
    await terminal.end();
    expect(terminal.text).toContain("failed minio/kaa-minio: pod is missing");
    expect(colors.test(terminal.output)).toBe(isColored);
  });
});

test("a dumb terminal gets plain lines and a table, and no cursor is moved", async () => {
  await using terminal = show({ env: { TERM: "dumb" } });
  await terminal.shows("postgresql/kaa-postgresql: dumping");
  terminal.kill("SIGUSR2");
  await terminal.end();
  expect(terminal.text).toMatch(
    /^ok postgresql\/kaa-postgresql: 3 databases, 12 tables \([\d.]+ [KM]?i?B in \d+ s\)$/m,
  );
  expect(terminal.text).toMatch(/^STORAGE +STATE/m);
  expect(terminal.output).not.toContain("\u001b[");
});

test("--quiet leaves warnings, failures and data", async () => {
  await using terminal = show({ flags: ["--quiet"] });
  await terminal.shows("failed");
  terminal.kill("SIGUSR2");
  await terminal.end();
  expect(terminal.text.split("\n").filter((each) => each !== "")).toEqual([
    "failed minio/kaa-minio: pod is missing",
    "warning a warning",
    "created",
  ]);
});

test("--verbose adds what was decided, and only then", async () => {
  await using plain = show();
  await using verbose = show({ flags: ["-v"] });
  await verbose.shows("a detail");
  expect(await plain.shows("dumping")).not.toContain("a detail");
});

test("--log-format json speaks in lines of JSON, also on a terminal", async () => {
  await using terminal = show({ flags: ["--log-format", "json", "-v"] });
  await terminal.shows('"message_type":"started"');
  terminal.kill("SIGUSR2");
  await terminal.end();
  const lines = terminal.output.split("\r\n").filter((each) => each.startsWith("{"));
  const messages = lines.map((each) => JSON.parse(each));
  expect(messages.map((each) => each.message_type)).toEqual([
    "failed",
    "detail",
    "note",
    "started",
    "started",
    "finished",
    "warning",
    "summary",
  ]);
  for (const message of messages) {
    expect(message.schema).toBe(1);
    expect(new Date(message.time).toISOString()).toBe(message.time);
  }
  expect(messages[0]).toMatchObject({ task: "minio/kaa-minio", outcome: "internal", message: "pod is missing" });
  expect(messages[3]).toMatchObject({ task: "postgresql/kaa-postgresql", doing: "dumping", expected_bytes: 1e9 });
  expect(messages[4]).toMatchObject({ task: "vault/\u001b[31mevil\n\u202e" });
  expect(messages[5]).toMatchObject({ task: "postgresql/kaa-postgresql", summary: "3 databases, 12 tables" });
  expect(messages.at(-1).tasks.map((each: { state: string }) => each.state)).toEqual([
    "failed",
    "done",
    "stopped",
    "waiting",
  ]);
  expect(terminal.output).not.toContain("\u202e");
  expect(terminal.output).not.toContain("\u001b");
});

test("docs/progress.md tells of every type of message", () => {
  const source = readFileSync(new URL("../../src/cli/json-lines.ts", import.meta.url), "utf8");
  const types = [...source.matchAll(/(?:write|writeUnlessQuiet|logLine)\(\s*"([a-z_]+)"/g)].map(([, type]) => type);
  expect(types).toEqual(expect.arrayContaining(["started", "progress", "exit_error"]));
  const page = readFileSync(new URL("../../docs/progress.md", import.meta.url), "utf8");
  for (const type of types) expect(page).toContain(`| \`${type}\` |`);
});
