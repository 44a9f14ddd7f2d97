/** `restore` without a date, on a real pseudo-terminal, with real keys, by the program as it is compiled. The cluster and S3
 *  are fakes; MariaDB's tools are stand-ins that behave. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { buildProgram } from "../../plugin/program.ts";
import { World } from "../cli/world.ts";
import { keys, PseudoTerminal } from "../fakes/terminal.ts";

const bucket = "storage-backup--kaa";
const newest = "12-02-2023-15-28-37";
const second = "12-02-2022-15-28-37";
const partial = "12-02-2021-15-28-37";

let folder: string;
let program: string;
let world: World;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kaa-picker-"));
  program = join(folder, "kubectl-kaa_backup");
  buildProgram(program, { commit: "unknown", date: "2026-01-01T00:00:00Z" });
});
afterAll(() => rmSync(folder, { recursive: true }));

beforeEach(async () => {
  world = new World();
  await world.start();
  onTestFinished(() => world[Symbol.asyncDispose]());
});

async function plantThree(): Promise<void> {
  await world.plant(newest, bucket, "double");
  await world.plant(second, bucket, "double");
  await world.plant(partial, bucket, "partial");
  world.emptyDatabase();
}

/** What the program writes to stdout goes into a file, as in a script that asks its operator. */
function restore(flags: readonly string[] = [], options: { columns?: number; env?: Record<string, string> } = {}) {
  const terminal = new PseudoTerminal(["/bin/sh", "-c", 'exec "$@" > "$STDOUT"', "sh", program, "restore", ...flags], {
    env: { ...world.environment, STDOUT: stdoutFile(), ...options.env },
    columns: options.columns ?? 150,
  });
  onTestFinished(() => terminal[Symbol.asyncDispose]());
  return terminal;
}

const stdoutFile = () => join(world.folder, "stdout");
const stdout = () => readFileSync(stdoutFile(), "utf8");
const hasTakenLock = () => world.cluster.requests.some(({ url, method }) => /leases/.test(url) && method !== "GET");

test("the second snapshot by an arrow key, one storage of two, the right namespace: that is restored", async () => {
  await plantThree();
  const terminal = restore();
  const list = await terminal.shows(/● 12-02-2023-15-28-37 UTC .* mariadb, vault$/m);
  expect(list).toMatch(/^\S\s+Which snapshot of s3:\/\/storage-backup--kaa\? 3 of them, newest first$/m);
  await terminal.shows(/○ 12-02-2022-15-28-37 UTC +\d+d +[\d.]+ KiB +Complete +mariadb, vault$/m);
  await terminal.shows(/○ 12-02-2021-15-28-37 UTC +\d+d +[\d.]+ KiB +Partial +mariadb$/m);
  terminal.press(keys.down);
  await terminal.shows(`● ${second}`);
  terminal.press(keys.enter);
  const storages = await terminal.shows(/◼ vault/);
  expect(storages).toContain(`Restore which storages of ${second}?`);
  expect(storages, "all are chosen to begin with").toMatch(/◼ mariadb \(kaa-mariadb 10\.11\.1-MariaDB, .*\)/);
  terminal.press(keys.down);
  terminal.press(keys.space);
  await terminal.shows("◻ vault");
  terminal.press(keys.enter);
  const plan = await terminal.shows("Type the namespace (kaa)");
  expect(plan).toContain(`restore ${second}.tar.gz (namespace kaa) into namespace kaa, context fake`);
  expect(plan).toMatch(/^ {2}mariadb\/kaa-mariadb/m);
  expect(plan).not.toMatch(/^ {2}vault/m);
  expect(hasTakenLock()).toBe(false);
  terminal.press("kaa", keys.enter);
  expect(await terminal.end()).toMatchObject({ exitCode: 0 });
  expect(world.databaseIsWhole).toBe(true);
  expect(stdout()).toBe(
    "RESTORED              COUNTS\nmariadb/kaa-mariadb   1 databases, 1 tables, 2 rows, 1 accounts\n",
  );
  expect(terminal.text).toMatch(/^mariadb\/kaa-mariadb +done /m);
});

test("typing filters by date and by status", async () => {
  await plantThree();
  const terminal = restore(["--dry-run"]);
  await terminal.shows(`● ${newest}`);
  terminal.press(..."partial");
  const found = await terminal.shows("(1 match)");
  expect(found).toContain(`● ${partial}`);
  expect(found).not.toContain(second);
  terminal.press(keys.enter);
  await terminal.shows(`Restore which storages of ${partial}? It is PARTIAL, without postgresql/kaa-postgresql`);
  terminal.press(keys.enter);
  expect(await terminal.end()).toMatchObject({ exitCode: 0 });
  expect(stdout()).toMatch(new RegExp(`^restore ${partial}\\.partial\\.tar\\.gz `));
  expect(world.databaseIsWhole).toBe(false);
});

test("what no snapshot matches cannot be chosen", async () => {
  await plantThree();
  const terminal = restore(["--dry-run"]);
  await terminal.shows(`● ${newest}`);
  terminal.press(..."1999");
  await terminal.shows("No matches found");
  terminal.press(keys.enter);
  await terminal.shows("No snapshot matches");
  terminal.press(keys.escape);
  expect(await terminal.end()).toMatchObject({ exitCode: 130 });
});

test("no storage at all is refused, and all means all of the snapshot", async () => {
  await plantThree();
  const terminal = restore();
  await terminal.shows(`● ${newest}`);
  terminal.press(keys.enter);
  await terminal.shows("◼ vault");
  terminal.press(keys.space, keys.down, keys.space);
  await terminal.shows(/◻ mariadb.*\n.*◻ vault/);
  terminal.press(keys.enter);
  await terminal.shows("select at least one");
  terminal.press(keys.space, keys.up, keys.space);
  await terminal.shows(/◼ mariadb.*\n.*◼ vault/);
  terminal.press(keys.enter);
  // Vault does not run here, and the snapshot holds it.
  expect(await terminal.end()).toMatchObject({ exitCode: 8 });
  expect(terminal.text).toContain("no Vault runs in namespace");
  expect(world.databaseIsWhole).toBe(false);
});

test("storages that flags name are not asked for", async () => {
  await plantThree();
  const terminal = restore(["--storage", "mariadb"]);
  await terminal.shows(`● ${newest}`);
  terminal.press(keys.enter);
  const plan = await terminal.shows("Type the namespace (kaa)");
  expect(plan).not.toContain("which storages");
  terminal.press("kaa", keys.enter);
  expect(await terminal.end()).toMatchObject({ exitCode: 0 });
  expect(world.databaseIsWhole).toBe(true);
});

describe.each([
  ["Esc", keys.escape],
  ["Ctrl-C", keys.ctrlC],
])("%s leaves everything as it was", (_, key) => {
  const stages = [
    ["at the list of snapshots", [], "nothing was chosen"],
    ["at the storages", [[`● ${newest}`, keys.enter]], "nothing was chosen"],
    [
      "at the namespace",
      [
        [`● ${newest}`, keys.down],
        [`● ${second}`, keys.down],
        [`● ${partial}`, keys.enter],
        ["◼ mariadb", keys.enter],
      ],
      "not confirmed",
    ],
  ] as const;
  const last = ["● 12-02", "◼ vault", "Type the namespace (kaa) to restore it:"];

  test.each(stages.map((each, index) => [...each, last[index] ?? ""] as const))(
    "%s",
    async (_, steps, says, before) => {
      await plantThree();
      const terminal = restore();
      for (const [shown, pressed] of steps) {
        await terminal.shows(shown);
        terminal.press(pressed);
      }
      await terminal.shows(before);
      terminal.press(key);
      expect(await terminal.end()).toMatchObject({ exitCode: 130 });
      expect(terminal.text).toMatch(new RegExp(`^error interrupted: ${says}$\\n  effect: nothing was changed$`, "m"));
      const [shown, hidden] = ["\u001b[?25h", "\u001b[?25l"].map((each) => terminal.output.lastIndexOf(each));
      expect(shown, "the cursor is shown again").toBeGreaterThanOrEqual(hidden ?? 0);
      expect(stdout()).toBe("");
      expect(hasTakenLock()).toBe(false);
      expect(world.databaseIsWhole).toBe(false);
    },
  );
});

test("another namespace typed is a refusal", async () => {
  await plantThree();
  const terminal = restore(["--date", partial]);
  await terminal.shows("Type the namespace (kaa)");
  terminal.press("kaa-production", keys.enter);
  expect(await terminal.end()).toMatchObject({ exitCode: 16 });
  expect(terminal.text).toContain('error refused: not confirmed: that is not "kaa"');
  expect(hasTakenLock()).toBe(false);
  expect(world.databaseIsWhole).toBe(false);
});

test("a thousand snapshots open at once: contents are read for what is on the screen", async () => {
  for (let n = 0; n < 1000; n++) {
    const [day, month] = [1 + (n % 28), 1 + (Math.floor(n / 28) % 12)].map((each) => String(each).padStart(2, "0"));
    world.s3.bucket(bucket).plant(`${day}-${month}-${2000 + Math.floor(n / 336)}-00-00-00.tar.gz`, "no snapshot");
  }
  await world.plant(newest, bucket, "whole");
  const terminal = restore();
  const list = await terminal.shows(/● 12-02-2023.*mariadb$/m);
  expect(list).toContain("1001 of them");
  await terminal.shows(/20-11-2002.*UNREADABLE$/m);
  const opened = () =>
    new Set(world.s3.log.filter(({ operation }) => operation === "GetObject").map(({ key }) => key)).size;
  expect(opened()).toBeLessThan(40);
  terminal.press(keys.down, keys.enter);
  expect(await terminal.end()).toMatchObject({ exitCode: 4 });
  expect(opened()).toBeLessThan(40);
});

test("in another time zone the local time stands beside UTC, and a narrow terminal cuts what does not fit", async () => {
  await plantThree();
  const env = { TZ: "Europe/Kyiv", NO_COLOR: "1" };
  const wide = restore([], { env });
  expect(await wide.shows(/● 12-02-2023.*vault/)).toMatch(
    /● 12-02-2023-15-28-37 UTC +Sun 12 Feb,? 17:28 (EET|GMT\+2) /,
  );
  wide.press(keys.escape);
  await wide.end();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
  expect(wide.output).not.toMatch(/\u001b\[[0-9;]+m/);
  const narrow = restore([], { env, columns: 50 });
  const shown = await narrow.shows(/● 12-02-2023.*…$/m);
  expect(shown).toMatch(/○ 12-02-2022.*…$/m);
  narrow.resize(120, 40);
  await narrow.shows(/● 12-02-2023.*mariadb, vault$/m);
  narrow.press(keys.escape);
  await narrow.end();
});

test("a bucket without snapshots has nothing to choose from", async () => {
  world.s3.bucket(bucket);
  const terminal = restore();
  expect(await terminal.end()).toMatchObject({ exitCode: 5 });
  expect(terminal.text).toContain(`there are no snapshots in s3://${bucket}`);
});

test.each([
  ["--yes is not asked", ["--yes"], {}],
  ["a dumb terminal cannot draw the list", [], { TERM: "dumb" }],
])("%s, and told the newest dates", async (_, flags, env) => {
  await plantThree();
  const terminal = restore(flags, { env });
  expect(await terminal.end()).toMatchObject({ exitCode: 2 });
  expect(terminal.text).toContain("which snapshot? --date is missing");
  expect(terminal.text).toContain(`the newest: ${newest}, ${second}, ${partial}`);
});
