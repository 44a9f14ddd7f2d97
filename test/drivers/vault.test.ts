/** The Vault driver against a scripted Vault in this process: what it refuses, what it says, and what it sends. */
import { createHash } from "node:crypto";
import type { Server } from "node:http";
import { connect, type Socket } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { type Bytes, collect } from "../../src/base/bytes.ts";
import { UserError } from "../../src/base/errors.ts";
import type { Cluster, Pod } from "../../src/cluster/cluster.ts";
import type { Backup, Context, Instance } from "../../src/drivers/driver.ts";
import { requireWholeSnapshot } from "../../src/drivers/vault/snapshot.ts";
import driver from "../../src/drivers/vault.ts";
import { collecting } from "../fakes/dump-output.ts";
import { raftMembers, raftSnapshot, startVault, type Vault } from "../fakes/vault.ts";

const wholeMembers = raftMembers("s".repeat(100_000));
const whole = raftSnapshot(wholeMembers);

async function* inPieces(bytes: Uint8Array, size = 1000): Bytes {
  for (let at = 0; at < bytes.byteLength; at += size) yield bytes.subarray(at, at + size);
}

describe("a raft snapshot", () => {
  test("that is whole passes byte for byte, however it is cut into chunks", async () => {
    for (const size of [1, 511, 1 << 20])
      expect((await collect(requireWholeSnapshot(inPieces(whole, size)), 1 << 20)).equals(whole)).toBe(true);
  });

  test("cut anywhere is refused", async () => {
    for (let length = 0; length < whole.byteLength; length += 7) {
      const cut = requireWholeSnapshot(inPieces(whole.subarray(0, length)));
      await expect(collect(cut, 1 << 20), `cut to ${length}`).rejects.toThrow(/damaged or cut/);
    }
    const lastByte = requireWholeSnapshot(inPieces(whole.subarray(0, -1)));
    await expect(collect(lastByte, 1 << 20)).rejects.toThrow(/damaged or cut/);
  });

  const [meta, content, list, sealed] = wholeMembers;
  const [, sums] = list;
  test.each([
    ["without SHA256SUMS.sealed", [meta, content, list], /last member is not SHA256SUMS.sealed/],
    ["with an empty SHA256SUMS.sealed", [meta, content, list, ["SHA256SUMS.sealed", ""]], /not SHA256SUMS.sealed/],
    ["with SHA256SUMS.sealed in the middle", [meta, sealed, content, list], /last member/],
    ["with another state", [meta, ["state.bin", "other"], list, sealed], /"state.bin" has not the hash/],
    ["whose sums leave the state out", [meta, content, ["SHA256SUMS", sums.split("\n")[0] ?? ""], sealed], /no state/],
    ["whose sums name what is not there", [meta, content, ["SHA256SUMS", `${sums}00  x\n`], sealed], /"x" has not/],
  ] as const)("%s is refused", async (_, members, says) => {
    const damaged = requireWholeSnapshot(inPieces(raftSnapshot(members)));
    await expect(collect(damaged, 1 << 20)).rejects.toThrow(says);
  });

  test("that is an error page is refused", async () => {
    await expect(collect(requireWholeSnapshot(inPieces(Buffer.from("<html>"))), 100)).rejects.toThrow(/damaged/);
  });
});

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers.splice(0)) server.close();
});

async function started(changes: Partial<Vault> = {}, credentials: Record<string, string> = { VAULT_TOKEN: "root" }) {
  const { vault, server, port } = await startVault({ snapshot: whole, ...changes });
  servers.push(server);
  const cluster: Pick<Cluster, "connect"> = {
    connect: async () => connect(port, "127.0.0.1"),
  };
  const warned: string[] = [];
  const context: Context = {
    cluster: cluster as Cluster,
    namespace: "kaa",
    location: { region: "eu-central-1" },
    snapshotName: "",
    credentials,
    compression: "auto",
    signal: AbortSignal.timeout(20_000),
    warn: (message) => warned.push(message),
  };
  const pod: Partial<Pod> = { name: "kaa-vault-0", namespace: "kaa", phase: "Running", ready: true, containers: [] };
  const instance: Instance = { storage: "vault", name: "kaa-vault", pods: [pod as Pod] };
  return { vault, context, instance, warned };
}

function backupOf(clusterId: string): Backup {
  const digest = { bytes: whole.byteLength, sha256: createHash("sha256").update(whole).digest("hex") };
  const stream = { name: "raft.snap", encoding: "identity", plain: digest, stored: digest } as const;
  const facts = { clusterId, sealType: "shamir", threshold: 2 };
  return { serverVersion: "1.21.4", counts: {}, facts, streams: [{ ...stream, read: () => inPieces(whole) }] };
}

describe("a Vault that cannot be backed up", () => {
  const token = { VAULT_TOKEN: "root" };
  test.each([
    ["sealed", { sealed: true }, token, "storage-not-ready", /"kaa-vault-0" is sealed/],
    ["standby", { standby: true }, token, "storage-not-ready", /"kaa-vault-0" is standby/],
    ["not initialized", { initialized: false, sealed: true }, token, "storage-not-ready", /is not initialized/],
    ["of file storage", { storageType: "file" }, token, "storage-not-ready", /"file" storage, which has no snapshots/],
    ["without a token", {}, {}, "credentials", /needs a token/],
    ["with a wrong token", {}, { VAULT_TOKEN: "no" }, "credentials", /refuses the token.*permission denied/],
    ["with a weak token", { rights: ["list"] }, token, "credentials", /may not "read" sys\/storage\/raft\/snapshot/],
  ] as const)("%s is named", async (_, changes, credentials, outcome, says) => {
    const { instance, context } = await started(changes, credentials);
    const error: unknown = await driver.inspect(instance, context).catch((each: unknown) => each);
    expect(error).toMatchObject({ outcome, message: expect.stringMatching(says) });
  });

  test("a snapshot that Vault ends too early fails the dump", async () => {
    const { instance, context } = await started({ snapshot: whole.subarray(0, -30) });
    const dumped = driver.dump(instance, collecting().output, context);
    await expect(dumped).rejects.toMatchObject({ outcome: "storage-failed" });
  });
});

describe("of several servers one does not answer:", () => {
  async function withDeadServer(changes: Partial<Vault> = {}) {
    const { instance, context } = await started(changes);
    const dead = { ...instance.pods[0], name: "kaa-vault-1" } as Pod;
    const connectTo = context.cluster.connect;
    const cluster = {
      connect: async (pod: Pod, port: number, signal: AbortSignal) => {
        if (pod.name === dead.name) throw new UserError("storage-not-ready", "connection refused");
        return await connectTo(pod, port, signal);
      },
    };
    return await driver.inspect(
      { ...instance, pods: [dead, ...instance.pods] },
      { ...context, cluster: cluster as Cluster },
    );
  }

  test("the active one is asked", async () => {
    await expect(withDeadServer()).resolves.toMatchObject({ serverVersion: "1.21.4" });
  });

  test("when none is active, each is named", async () => {
    const states = /"kaa-vault-1" does not answer \(.*connection refused.*\), "kaa-vault-0" is sealed/;
    await expect(withDeadServer({ sealed: true })).rejects.toMatchObject({ message: expect.stringMatching(states) });
  });
});

test("dump stores the snapshot as Vault gives it, with counts and what a restore must know", async () => {
  const { instance, context } = await started();
  const { stored, output } = collecting();
  const result = await driver.dump(instance, output, context);
  expect([...stored.keys()]).toEqual(["raft.snap"]);
  expect(stored.get("raft.snap")?.equals(whole)).toBe(true);
  expect(result).toMatchObject({
    counts: { mounts: 1, "auth methods": 1, policies: 2, secrets: 0 },
    facts: { clusterId: "here", sealType: "shamir", threshold: 2 },
  });
});

describe.concurrent("of several servers, after a restore from another Vault,", () => {
  const credentials = { VAULT_TOKEN: "root", VAULT_UNSEAL_KEYS: "k1 k2" };

  /** The first of two pods is `other`; the second is the active server. */
  async function restoredBeside(other: Partial<Pod>, reach: () => Promise<Socket>, changes: Partial<Vault> = {}) {
    const { vault, instance, context } = await started(changes, credentials);
    const first = { ...instance.pods[0], name: "kaa-vault-1", ...other } as Pod;
    const connectTo = context.cluster.connect;
    const cluster: Pick<Cluster, "connect"> = {
      connect: (pod, port, signal) => (pod.name === first.name ? reach() : connectTo(pod, port, signal)),
    };
    const all = { ...instance, pods: [first, ...instance.pods] };
    const restored = driver.restore(all, backupOf("there"), { ...context, cluster: cluster as Cluster });
    return { vault, restored };
  }

  async function reachVault(changes: Partial<Vault>) {
    const { vault, server, port } = await startVault(changes);
    servers.push(server);
    return { vault, reach: async () => connect(port, "127.0.0.1") };
  }

  const refused = () => Promise.reject(new UserError("storage-not-ready", "connection refused"));

  test("one that refuses connections keeps no other from being unsealed, and is named", async () => {
    const { vault, restored } = await restoredBeside({}, refused);
    expect((await restored).warnings.at(-1)).toMatch(/not all of "kaa-vault" serve.*: "kaa-vault-1" does not answer$/);
    expect(vault).toMatchObject({ forced: true, sealed: false });
  });

  test("one that does not run is not asked, and is named", async () => {
    const { restored } = await restoredBeside({ phase: "Pending" }, refused);
    expect((await restored).warnings.at(-1)).toMatch(/"kaa-vault-1" is Pending$/);
  });

  test("one that is not initialized is not given the keys, and is named", async () => {
    const other = await reachVault({ initialized: false, sealed: true });
    const { restored } = await restoredBeside({}, other.reach);
    expect((await restored).warnings.at(-1)).toMatch(/"kaa-vault-1" is not initialized$/);
    expect(other.vault.requests).not.toContain("POST unseal");
  });

  test("one that has other keys still is named, and the active one is unsealed", async () => {
    const other = await reachVault({ sealed: true, keys: ["old"] });
    const { vault, restored } = await restoredBeside({}, other.reach);
    expect((await restored).warnings.at(-1)).toMatch(/"kaa-vault-1" refuses the unseal keys$/);
    expect(vault.sealed).toBe(false);
  });

  test("wrong keys are told at once, though one does not run", async () => {
    const { restored } = await restoredBeside({ phase: "Pending" }, refused, { keys: ["others"] });
    await expect(restored).rejects.toMatchObject({ outcome: "credentials" });
  });

  test("a standby is unsealed, too", async () => {
    const other = await reachVault({ sealed: true, standby: true });
    const { restored } = await restoredBeside({}, other.reach);
    expect((await restored).warnings.join()).not.toMatch(/not all/);
    expect(other.vault.sealed).toBe(false);
  });
});

describe.concurrent("restore", () => {
  const keys = (text: string) => ({ VAULT_TOKEN: "root", VAULT_UNSEAL_KEYS: text });

  test("into the same Vault needs no keys and is not forced", async () => {
    const { vault, instance, context } = await started();
    expect(await driver.plan(instance, backupOf("here"), context)).toMatchObject({ obstacles: [], warnings: [] });
    const { counts, warnings } = await driver.restore(instance, backupOf("here"), context);
    expect(vault).toMatchObject({ forced: false, loaded: whole });
    expect(counts).toMatchObject({ policies: 2 });
    expect(warnings).toEqual([]);
  });

  test("of another Vault says first that its keys are needed, and is refused without them", async () => {
    const { instance, context } = await started({}, keys("k1"));
    const plan = await driver.plan(instance, backupOf("there"), context);
    expect(plan.warnings.join("\n")).toMatch(/another Vault[\s\S]*2 unseal keys of the snapshot's Vault are needed/);
    expect(plan.obstacles.join("\n")).toMatch(/2 of them are needed; 1 were given/);
  });

  test("of another Vault is forced, unseals with its keys, and says that the token has changed", async () => {
    const { vault, instance, context } = await started({}, keys(" k2\r\nk1\n\n"));
    expect((await driver.plan(instance, backupOf("there"), context)).obstacles).toEqual([]);
    const { warnings } = await driver.restore(instance, backupOf("there"), context);
    expect(vault).toMatchObject({ forced: true, sealed: false, loaded: whole });
    expect(warnings.join("\n")).toMatch(/now those of the snapshot's Vault[\s\S]*works no longer/);
  });

  test("with keys of yet another Vault leaves it sealed and says so, without the keys", async () => {
    const { vault, instance, context } = await started({}, keys("bad-1 bad-2"));
    const error: unknown = await driver.restore(instance, backupOf("there"), context).catch((each: unknown) => each);
    expect(error).toMatchObject({ outcome: "credentials", effect: expect.stringMatching(/snapshot is in place/) });
    expect(JSON.stringify(error) + String(error)).not.toMatch(/bad-[12]/);
    expect(vault.sealed).toBe(true);
  });

  test("under keys that were changed since is refused before anything is forced, unless keys are given", async () => {
    const without = await started({ keysChanged: true });
    const refused = driver.restore(without.instance, backupOf("here"), without.context);
    await expect(refused).rejects.toMatchObject({ outcome: "refused", effect: "Vault was not changed" });
    expect(without.vault.loaded).toBeUndefined();
    const given = await started({ keysChanged: true }, keys("k1 k2"));
    await driver.restore(given.instance, backupOf("here"), given.context);
    expect(given.vault).toMatchObject({ forced: true, sealed: false });
  });

  test("that is interrupted after Vault took the snapshot unseals it all the same", async () => {
    const { vault, instance, context } = await started({}, keys("k1 k2"));
    const interrupt = new AbortController();
    const restored = driver.restore(instance, backupOf("there"), { ...context, signal: interrupt.signal });
    const failed = restored.catch((each: unknown) => each);
    while (vault.loaded === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    interrupt.abort(new Error("Ctrl-C"));
    expect(String(await failed)).toMatch(/Ctrl-C|abort/i);
    expect(vault.sealed).toBe(false);
  });

  test("refuses a backup without raft.snap before it talks to Vault", async () => {
    const { vault, instance, context } = await started();
    const nothing = driver.restore(instance, { ...backupOf("here"), streams: [] }, context);
    await expect(nothing).rejects.toMatchObject({ outcome: "invalid-snapshot" });
    expect(vault.requests).toEqual([]);
  });
});
