/** Faults of the engines (DB-…) that stand-ins can show: what their tools and servers say and do not do. Those that need the
 *  engines themselves are in test/e2e. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { mariadbDump, mariadbInspection } from "../fakes/mariadb.ts";
import { refuse } from "../fakes/s3-server.ts";
import { expectInvariants } from "./invariants.ts";
import { Stage } from "./stage.ts";

// Most of these wait for a process in the pod to end.
vi.setConfig({ maxConcurrency: 3 });
const test = oneAfterAnother.concurrent;

const mariadb = { storages: ["mariadb"] } as const;
const vault = { storages: ["vault"] } as const;
const createVault = ["--storage", "vault"] as const;

describe("DB-01: a login that is wrong or may too little is found before anything is dumped:", () => {
  test.each([
    ["the token is another Vault's", { token: "another" }, /refuses the token/],
    ["the token may not take snapshots", { rights: ["list"] }, /may not "read" sys\/storage\/raft\/snapshot/],
  ])("%s", async (_, changes, says) => {
    await using stage = await Stage.set({ pod: "function", vault: changes });
    const before = await stage.state();
    const ended = await stage.create("--storage", "mariadb,vault", "--strict");
    expect(stage.database?.asked, "the other storage was not dumped either").toEqual([]);
    expect(ended.stderr).toMatch(says);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });

  test("MariaDB refuses the password", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    const words = "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)";
    writeFileSync(join(stage.mariadb, "before-sql"), `echo "${words}" >&2; exit 1`);
    writeFileSync(join(stage.mariadb, "before-dump"), 'touch "$folder/dumped"');
    const ended = await stage.create();
    expect(stage.shell(`ls '${stage.mariadb}'`)).not.toContain("dumped");
    expect(ended.stderr).toContain("1045");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });
});

describe("DB-03: the tool says success, and its output", () => {
  test.each([
    ["lacks its last line", (dump: string) => dump.replace(/-- Dump completed.*\n$/, "")],
    ["ends in its middle", (dump: string) => dump.slice(0, dump.length / 2)],
    ["is empty", () => ""],
    ["is an error in words", () => "mysqldump: Got error: 2013\n"],
    ["goes on behind its end", (dump: string) => `${dump}DROP DATABASE mysql;\n`],
  ])("%s", async (_, change) => {
    await using stage = await Stage.set({ pod: "function" });
    await stage.snapshot();
    if (stage.database === undefined) throw new Error("no database");
    stage.database.databases = change(stage.database.databases);
    const before = await stage.state();
    const ended = await (await stage.quickly(mariadb)).create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
  });
});

test.each([
  ["fails", "exit 3", "exit code 3"],
  ["is killed", "kill -KILL $$", "exit code 137"],
] as const)(
  "DB-04: the dump tool %s behind a whole dump, and the compressor behind it succeeds",
  async (_, end, says) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "after-dump"), end);
    const ended = await (await stage.quickly(mariadb)).create();
    expect(ended.stderr).toContain(says);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
  },
);

describe("DB-09: Open Distro's snapshot is", () => {
  const search = { storages: ["opendistro"] } as const;

  test.each(["PARTIAL", "FAILED", "INCOMPATIBLE"])(
    "%s: it is thrown away, and nothing is published",
    async (endsAs) => {
      await using stage = await Stage.set({ engine: {} });
      await stage.snapshot("--storage", "opendistro");
      const before = await stage.state();
      if (stage.engine !== undefined) stage.engine.endsAs = endsAs;
      const ended = await (await stage.quickly(search)).create();
      expect(ended.stderr).toContain(endsAs);
      await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
    },
  );

  test("of an index that has lost a shard: it is not begun", async () => {
    await using stage = await Stage.set({ engine: { health: "red" } });
    const before = await stage.state();
    const ended = await (await stage.quickly(search)).create();
    expect(stage.engine?.calls.filter(({ call }) => call.startsWith("PUT /_snapshot"))).toEqual([]);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });
});

describe("DB-10: Vault", () => {
  test.each([
    ["is sealed", { sealed: true }, /"kaa-vault-0" is sealed/],
    ["is a standby", { standby: true }, /"kaa-vault-0" is standby/],
    ["was never initialized", { initialized: false }, /is not initialized/],
    ["keeps its data elsewhere", { storageType: "consul" }, /"consul" storage, which has no snapshots/],
  ])("%s: that is told", async (_, changes, says) => {
    await using stage = await Stage.set({ vault: changes });
    const before = await stage.state();
    const ended = await stage.create(...createVault);
    expect(ended.stderr).toMatch(says);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });

  test.each([
    ["a byte", 1],
    ["half", 100_000],
    ["all", 1_000_000_000],
  ])("sends a snapshot that lacks %s at its end, as though it were whole", async (_, missing) => {
    await using stage = await Stage.set();
    await stage.snapshot(...createVault);
    const before = await stage.state();
    stage.vault.snapshot = stage.vault.snapshot.subarray(0, Math.max(0, stage.vault.snapshot.byteLength - missing));
    const ended = await (await stage.quickly(vault)).create();
    expect(ended.stderr).toContain("damaged or cut");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
  });
});

describe("DB-14: a dump is much smaller than the last one", () => {
  async function createAgain(...flags: readonly string[]) {
    const stage = await Stage.set({ pod: "function" });
    for (let older = 0; older < 2; older++) await stage.snapshot();
    if (stage.database === undefined) throw new Error("no database");
    stage.database.databases = mariadbDump(100);
    const before = await stage.state();
    return { stage, before, ended: await stage.create(...flags) };
  }

  test("it is published and told, and older ones are not pruned for it", async () => {
    const { stage, before, ended } = await createAgain("--min-size-ratio", "0.5", "--keep-last", "1");
    await using _ = stage;
    expect(ended.stderr).toMatch(/mariadb\/kaa-mariadb has only .* after .* in \d\d-.*: is everything still there\?/);
    expect(ended.stderr).toContain("nothing was pruned, for a dump has shrunk");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "attention" });
    const next = await stage.create("--min-size-ratio", "0.5");
    expect(next.code, "it is compared with the smaller one").toBe(0);
  });

  test.each([
    ["nobody asked", []],
    ["not so much as was asked", ["--min-size-ratio", "0.001"]],
  ])("%s: nothing is told", async (_title, flags) => {
    const { stage, before, ended } = await createAgain(...flags);
    await using _ = stage;
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("what the newest lacks is looked up in the newest complete one", async () => {
    await using stage = await Stage.set({ pod: "function" });
    await stage.snapshot();
    if (stage.database === undefined) throw new Error("no database");
    const whole = stage.database.databases;
    stage.database.databases = "";
    expect((await stage.create("--storage", "mariadb,vault")).code, "it is partial").toBe(3);
    stage.database.databases = mariadbDump(100);
    expect(whole.length).toBeGreaterThan(2 * stage.database.databases.length);
    const before = await stage.state();
    const ended = await stage.create("--min-size-ratio", "0.5");
    expect(ended.stderr).toContain("mariadb/kaa-mariadb has only");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "attention" });
  });

  test.each([
    ["cannot be read", { operation: "GetObject", times: Number.POSITIVE_INFINITY }],
    ["cannot be listed", { operation: "ListObjectsV2", times: 1 }],
  ] as const)("the earlier ones %s: that is told, and none is pruned", async (_title, fault) => {
    await using stage = await Stage.set({ pod: "function" });
    for (let older = 0; older < 2; older++) await stage.snapshot();
    await pause(1000 - (Date.now() % 1000)); // whose name is taken, only the listing tells
    stage.s3.fault({ ...fault, action: refuse(403, "AccessDenied") });
    const before = await stage.state();
    const ended = await stage.create("--min-size-ratio", "0.5", "--keep-last", "1");
    expect(ended.stderr).toContain("whether a dump has become much smaller is not known");
    expect(ended.stderr).toContain("nothing was pruned");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("the newest has other storages only: the one before is compared", async () => {
    await using stage = await Stage.set({ pod: "function" });
    await stage.snapshot();
    await stage.snapshot("--storage", "vault");
    if (stage.database === undefined) throw new Error("no database");
    stage.database.databases = mariadbDump(100);
    const before = await stage.state();
    const ended = await stage.create("--min-size-ratio", "0.5");
    expect(ended.stderr).toContain("mariadb/kaa-mariadb has only");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "attention" });
  });

  test("a storage that runs no more is told once, and older snapshots stay", async () => {
    await using stage = await Stage.set({ pod: "function" });
    for (let older = 0; older < 2; older++) await stage.snapshot("--all");
    stage.api.pods = stage.api.pods.filter(({ name }) => !name.includes("mariadb"));
    const before = await stage.state();
    const ended = await stage.create("--all", "--keep-last", "1");
    expect(ended.stderr).toMatch(/mariadb\/kaa-mariadb is in \d\d-\S+ and runs here no more: was that meant\?/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "attention" });
    expect((await stage.create("--all")).code).toBe(0);
  });
});

describe("DB-16: a restore fails in the middle", () => {
  test("because the client does: what is there now is said, and a repeated restore mends it", async () => {
    await using stage = await Stage.set();
    const date = await stage.snapshot();
    const before = await stage.state();
    const words = "ERROR 1062 (23000) at line 7: Duplicate entry";
    writeFileSync(join(stage.mariadb, "before-load"), `head -c 1000 >/dev/null; echo "${words}" >&2; exit 1`);
    const ended = await stage.restore(date, "--storage", "mariadb");
    expect(ended.stderr).toMatch(/effect: .*(incomplete|partly|missing)/);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "storage-failed", target: "partly" });
    writeFileSync(join(stage.mariadb, "before-load"), "");
    const now = await stage.state();
    const again = await stage.restore(date, "--storage", "mariadb");
    await expectInvariants(stage, now, again, { command: "restore", outcome: "ok" });
  });

  test("of two storages one fails: the other one is restored, and both are told", async () => {
    await using stage = await Stage.set();
    const date = await stage.snapshot("--storage", "mariadb,vault");
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "before-load"), "exit 1");
    const ended = await stage.restore(date);
    expect(ended.stderr).toMatch(/effect: .*restored: vault\/kaa-vault/);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "storage-failed", target: "partly" });
  });
});

describe("DB-17: the target does not fit: nothing is touched when", () => {
  test.each([
    ["it is older", { version: "10.6.1-MariaDB" }, /newer than the target's/],
    ["it is read-only", { isReadOnly: true }, /read-only/],
    ["its names follow other rules", { lowerCaseNames: 1 }, /lower_case_table_names/],
  ])("%s", async (_, changes, says) => {
    await using stage = await Stage.set({ pod: "function" });
    const date = await stage.snapshot();
    if (stage.database !== undefined) stage.database.inspection = { ...mariadbInspection, ...changes };
    const before = await stage.state();
    const ended = await stage.restore(date, "--storage", "mariadb");
    expect(ended.stderr).toMatch(says);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "refused" });
    const dry = await stage.restore(date, "--storage", "mariadb", "--dry-run", "-o", "json");
    expect(JSON.parse(dry.stdout).plans[0].obstacles).toEqual([expect.stringMatching(says)]);
    await expectInvariants(stage, before, dry, { command: "restore", outcome: "refused" });
  });

  test("it is another Vault, whose unseal keys nobody has given", async () => {
    await using stage = await Stage.set();
    const date = await stage.snapshot(...createVault);
    stage.vault.clusterId = "elsewhere";
    const before = await stage.state();
    const ended = await stage.restore(date, ...createVault);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "refused" });
  });

  test("it is of another namespace, and nobody has said that this is meant", async () => {
    await using stage = await Stage.set({ pod: "function" });
    const date = await stage.snapshot();
    const [mariadbPod] = stage.api.pods;
    if (mariadbPod === undefined) throw new Error("no pod");
    stage.api.pods = [{ ...mariadbPod, namespace: "other" }];
    const before = await stage.state();
    const argv = ["restore", "--kubeconfig", stage.api.kubeconfig, "-n", "other", "--yes", "--date", date];
    const ended = await stage.run([...argv, "--bucket", "storage-backup--kaa"]);
    expect(ended.stderr).toContain('is of namespace "kaa", not of "other"');
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "refused" });
  });
});
