/** Faults of connections to ports of pods (PF-01 to PF-08), each in a whole run of the program: Vault's and Open Distro's
 *  dumps go through such connections. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import type { ForwardFault } from "../fakes/api-server.ts";
import { expectInvariants } from "./invariants.ts";
import { peakBytesOf, start } from "./program.ts";
import { Stage } from "./stage.ts";

// Most of these wait for a pause to be over.
vi.setConfig({ maxConcurrency: 3 });
const test = oneAfterAnother.concurrent;

const always = Number.POSITIVE_INFINITY;
/** More than Vault tells of itself, and less than its snapshot has. */
const afterBytes = 100_000;
const vault = { storages: ["vault"] } as const;
const create = ["--storage", "vault"] as const;

const snapshots = ({ vault: { requests } }: Stage) =>
  requests.filter((each) => each === "GET storage/raft/snapshot").length;

/** The fault meets connections to Vault until it has met so many that carry the snapshot. */
function strike(stage: Stage, fault: ForwardFault, times = always): void {
  const before = snapshots(stage);
  stage.api.forwardFault = () => (snapshots(stage) - before < times ? fault : undefined);
}

const cuts: readonly (readonly [string, ForwardFault])[] = [
  ["it is closed properly", { kind: "cut", afterBytes }],
  ["it is reset", { kind: "reset", afterBytes }],
  ["nothing more arrives", { kind: "silence", afterBytes }],
  ["the error channel says why", { kind: "error-channel", afterBytes }],
];

describe("the connection is lost in the middle of Vault's snapshot", () => {
  test.each(cuts)("PF-01: %s: a part never passes for the whole", async (_, fault) => {
    await using stage = await Stage.set();
    await stage.snapshot(...create);
    const before = await stage.state();
    const already = snapshots(stage);
    strike(stage, fault);
    const ended = await (await stage.quickly(vault)).create();
    expect(snapshots(stage) - already, "it is tried three times").toBe(3);
    expect(ended.stderr).toContain("kaa-vault");
    await expectInvariants(stage, before, ended, { command: "create", outcome: ["stream-lost", "storage-failed"] });
  });

  test.each(cuts)("PF-03: %s, once: the next connection is made anew, and the snapshot is whole", async (_, fault) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    strike(stage, fault, 1);
    const ended = await (await stage.quickly(vault)).create();
    expect(snapshots(stage)).toBe(2);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("PF-03: a restore that loses its connection says what Vault may hold now", async () => {
    await using stage = await Stage.set();
    const date = await stage.snapshot(...create);
    const before = await stage.state();
    stage.vault.bytesPerSecond = 200_000;
    const cut = setInterval(() => stage.vault.receivedBytes > 50_000 && stage.api.cutForwards(), 10);
    const ended = await stage.restore(date, ...create);
    clearInterval(cut);
    expect(ended.stderr).toMatch(/effect: .*Vault/);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "stream-lost", target: "untouched" });
  });
});

test.each([0, 1] as const)("PF-02: nothing listens on the port (TLS inside: %i): the port is named", async (tls) => {
  await using stage = await Stage.set(tls === 1 ? { engine: {} } : {});
  const before = await stage.state();
  stage.api.pods = stage.api.pods.map((pod) => ({ ...pod, ports: {} }));
  const storage = tls === 1 ? "opendistro" : "vault";
  const ended = await stage.create("--storage", storage);
  expect(ended.stderr).toMatch(tls === 1 ? /port 9200 of pod ".*": connection refused/ : /port 8200 of pod/);
  expect(ended.stderr).not.toContain("destroyed");
  await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
});

describe("PF-04: the server does not name the port as the protocol wants it", () => {
  test.each(["split-port", "no-port", "other-port", "channel-7", "text"] as const)("%s", async (kind) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    strike(stage, { kind });
    const ended = await (await stage.quickly(vault)).create();
    expect(ended.stderr).toMatch(/broke the protocol/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "stream-lost" });
  });
});

test("PF-05: no port of this machine is opened for a tunnel that another user could use", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  const listening: string[] = [];
  let looks = 0;
  const { PATH = "" } = process.env;
  const running = start(["create", ...stage.cluster, ...create], { env: { ...stage.environment(), PATH } });
  stage.api.forwardFault = () => {
    looks += 1;
    listening.push(...listenersOf(running.child.pid ?? 0));
    return undefined;
  };
  const { code, stdout, stderr, durationMs } = await running.ended;
  expect(looks, "it was looked at while it had a tunnel").toBeGreaterThan(0);
  expect(listening).toEqual([]);
  const ended = { code: code ?? -1, stdout, stderr, tookMs: durationMs };
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

/** Local addresses on which a process listens, of those that /proc tells. */
function listenersOf(pid: number): readonly string[] {
  const sockets = readdirSync(`/proc/${pid}/fd`).flatMap((each) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${each}`).match(/(?<=^socket:\[)\d+/) ?? [];
    } catch {
      return []; // closed meanwhile
    }
  });
  const listen = "0A";
  return ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode = ""]) => state === listen && sockets.includes(inode))
      .map(([, address = ""]) => address),
  );
}

describe("PF-06: the connection is cut while Open Distro works on its own", () => {
  const search = ["--storage", "opendistro"] as const;
  const callsTo = (stage: Stage, which: RegExp) => stage.engine?.calls.filter(({ call }) => which.test(call)).length;
  /** The answers to the first calls of a kind are lost, with the connection. */
  const cutAt = (stage: Stage, which: RegExp, times: number) => {
    let cuts = 0;
    if (stage.engine === undefined) throw new Error("no engine runs");
    stage.engine.onCall = (call) => {
      if (!which.test(call) || cuts === times) return;
      cuts += 1;
      stage.api.cutForwards();
    };
    return () => cuts;
  };

  test("in a dump: asking goes on, and the snapshot is taken once", async () => {
    await using stage = await Stage.set({ engine: {} });
    const before = await stage.state();
    const cuts = cutAt(stage, /^GET \/_snapshot\/kaa-backup\/kaa-/, 3);
    const ended = await stage.create(...search);
    expect(cuts()).toBe(3);
    expect(callsTo(stage, /^PUT \/_snapshot\/kaa-backup\/kaa-/)).toBe(1);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("while a dump begins: what it may have begun is thrown away, and it begins anew", async () => {
    await using stage = await Stage.set({ engine: {} });
    const before = await stage.state();
    cutAt(stage, /^PUT \/_snapshot\/kaa-backup\/kaa-/, 1);
    const ended = await stage.create(...search);
    expect(callsTo(stage, /^DELETE \/_snapshot\/kaa-backup\/kaa-/)).toBe(1);
    expect(callsTo(stage, /^PUT \/_snapshot\/kaa-backup\/kaa-/)).toBe(2);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("in a restore: asking goes on", async () => {
    await using stage = await Stage.set({ engine: {} });
    const date = await stage.snapshot(...search);
    const before = await stage.state();
    const cuts = cutAt(stage, /^GET \/_cluster\/health/, 3);
    const ended = await stage.restore(date, ...search);
    expect(cuts()).toBe(3);
    expect(callsTo(stage, /\/_restore$/)).toBe(1);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "ok" });
  });
});

describe("PF-07: one end is slow", () => {
  const snapshotBytes = 208 * 1024 * 1024;
  /** How much more memory than for a small one it may take: parts of 16 MiB, and what waits for the garbage collector. */
  const moreBytes = 160 * 1024 * 1024;
  const slow = 64_000_000;

  /** Runs the program as a process, since the fakes' memory is not what is meant. */
  const peakOf = async (stage: Stage, args: readonly string[]) => {
    const { PATH = "" } = process.env;
    const running = start([...args, ...stage.cluster, ...create], { env: { ...stage.environment(), PATH } });
    const peakBytes = await peakBytesOf(running);
    const { code, stdout, stderr, durationMs } = await running.ended;
    return { peakBytes, ended: { code: code ?? -1, stdout, stderr, tookMs: durationMs } };
  };

  test("a slow store slows Vault, and fills no memory", { timeout: 300_000 }, async () => {
    await using small = await Stage.set();
    const { peakBytes: usual } = await peakOf(small, ["create"]);
    await using stage = await Stage.set({ vaultBytes: snapshotBytes, s3: { bytesPerSecond: slow } });
    const before = await stage.state();
    const { peakBytes, ended } = await peakOf(stage, ["create"]);
    expect(ended.tookMs).toBeGreaterThan((snapshotBytes / slow) * 900);
    expect(peakBytes - usual).toBeLessThan(moreBytes);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok", withinMs: 200_000 });
  });

  test("a slow Vault slows the reading of the store, and fills no memory", { timeout: 300_000 }, async () => {
    await using small = await Stage.set();
    const restore = (date: string) => ["restore", "--yes", "--date", date];
    const { peakBytes: usual } = await peakOf(small, restore(await small.snapshot(...create)));
    await using stage = await Stage.set({ vaultBytes: snapshotBytes });
    const directory = ["--local", "--dir", stage.directory];
    const date = await stage.snapshot(...create, ...directory);
    const before = await stage.state();
    stage.vault.bytesPerSecond = slow;
    const { peakBytes, ended } = await peakOf(stage, [...restore(date), ...directory]);
    expect(ended.tookMs).toBeGreaterThan((snapshotBytes / slow) * 900);
    expect(peakBytes - usual).toBeLessThan(moreBytes);
    await expectInvariants(stage, before, ended, { command: "restore", outcome: "ok", withinMs: 200_000 });
  });
});

describe("PF-08: another pod has taken the name of the one behind the port", () => {
  test("for good: nothing is sent to it", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    stage.api.forwardFault = () => {
      stage.api.uid = crypto.randomUUID();
      return undefined;
    };
    const ended = await (await stage.quickly(vault)).create();
    expect(ended.stderr).toContain("was replaced while we worked with it");
    expect(stage.vault.requests).toEqual([]);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });

  test("between two attempts: the successor is dumped", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    let connections = 0;
    stage.api.forwardFault = () => {
      if (++connections === 2) stage.api.uid = crypto.randomUUID();
      return undefined;
    };
    const ended = await (await stage.quickly(vault)).create();
    expect(connections).toBe(3);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});
