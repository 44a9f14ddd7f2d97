/** 200 backups through the whole program, from exec to the store, each over a connection that fails in its own way. The
 *  API server is scripted, the wrapper and its commands are real; the database's tools are stand-ins that behave. Nothing
 *  may be published, nothing left open in the store, nothing left running in the pod. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { backup } from "../../src/backup.ts";
import { UserError } from "../../src/base/errors.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { type ExecFault, FakeApiServer } from "../fakes/api-server.ts";
import { mariadbDump, standInMariadb } from "../fakes/mariadb.ts";
import { mariadbPlan, scopeOf } from "../fakes/scope.ts";
import { bucket, directoryUnderTest, type FakeUnderTest, fakeS3UnderTest } from "../stores/places.ts";

const runs = 200;
const lanes = 4;
const seed = 20261123;

/** mulberry32: small, seeded, good enough to scatter faults. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Lane {
  readonly server: FakeApiServer;
  readonly s3: FakeUnderTest;
  readonly directory: Awaited<ReturnType<typeof directoryUnderTest>>;
}
const all: Lane[] = [];
let tools: string;

beforeAll(async () => {
  tools = mkdtempSync(join(tmpdir(), "kaa-tools-"));
  const { bin, data } = standInMariadb(tools, mariadbDump(12_000));
  writeFileSync(join(data, "accounts.sql"), mariadbDump(12_000));
  for (let n = 0; n < lanes; n++) {
    const server = new FakeApiServer([
      {
        namespace: "kaa",
        name: "kaa-mariadb-0",
        labels: { "app.kubernetes.io/name": "mariadb", "app.kubernetes.io/instance": "kaa" },
        env: { MARIADB_ROOT_PASSWORD: "x", PATH: `${bin}:${process.env["PATH"]}` },
      },
    ]);
    await server.start();
    all.push({ server, s3: await fakeS3UnderTest(), directory: await directoryUnderTest() });
  }
});
afterAll(async () => {
  rmSync(tools, { recursive: true });
  for (const { server, s3, directory } of all) {
    await server.stop();
    await s3.dispose();
    await directory.dispose();
  }
});

async function oneBackup({ server, s3, directory }: Lane, toS3: boolean) {
  const cluster = await connectCluster({
    kubeconfig: server.kubeconfig,
    liveness: { pingMs: 150, silenceMs: 1500, handshakeMs: 10_000, closeMs: 500, heartbeatMs: 30_000 },
  });
  const scope = scopeOf(cluster, AbortSignal.timeout(60_000));
  return await backup(mariadbPlan, scope, toS3 ? s3.store : directory.store);
}

/** Strikes one of the commands that carry data or facts, somewhere in its output. */
function someFault(next: () => number): { at: number; fault: ExecFault } {
  const kinds = [
    "reset",
    "close",
    "silence",
    "early-success",
    "flip",
    "duplicate",
    "swap",
    "no-status",
    "bad-status",
    "lose-last-frame",
  ] as const;
  const kind = kinds[Math.floor(next() * kinds.length)] ?? "reset";
  const position = next();
  const inDump = !["no-status", "bad-status", "lose-last-frame"].includes(kind);
  // 0 and 1 look at the server, 2 and 3 are the dumps, 4 looks again.
  const at = inDump ? 2 + Math.floor(next() * 2) : Math.floor(next() * 5);
  // swap needs a frame behind the one it holds back; a dump has about 22
  return { at, fault: inDump ? { kind, afterBytes: Math.floor(position * 600_000) } : ({ kind } as ExecFault) };
}

test(`${runs} backups over failing connections publish nothing and leave nothing (seed ${seed})`, async () => {
  for (const lane of all) {
    await expect(oneBackup(lane, true), "without a fault it works").resolves.toMatchObject({ failures: [] });
    await expect(oneBackup(lane, false)).resolves.toMatchObject({ failures: [] });
  }
  // A snapshot is named by the second it began in: a run in the same second as those above would find its name taken.
  await sleep(1100);
  const next = random(seed);
  const jobs = Array.from({ length: runs }, (_, index) => ({ index, ...someFault(next), toS3: next() < 0.5 }));
  const outcomes = new Map<string, number>();
  const problems: string[] = [];
  await Promise.all(
    all.map(async (lane) => {
      const published = () => [...(lane.s3.server.buckets.all.get(bucket)?.objects.keys() ?? [])].length;
      const filesBefore = (await readdir(lane.directory.path)).length;
      const objectsBefore = published();
      for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
        const { index, at, fault, toS3 } = job;
        let count = -1;
        let struck = false;
        lane.server.execFault = () => {
          count += 1;
          struck ||= count === at;
          return count === at ? fault : undefined;
        };
        const name = `run ${index}: ${JSON.stringify(fault)} in command ${at}`;
        try {
          await oneBackup(lane, toS3);
          problems.push(`${name}: reported success${struck ? "" : ", the fault never struck"}`);
        } catch (error) {
          if (!(error instanceof UserError)) problems.push(`${name}: ${error}`);
          else outcomes.set(error.outcome, (outcomes.get(error.outcome) ?? 0) + 1);
        }
        if (published() !== objectsBefore) problems.push(`${name}: an object was published`);
        if ((await readdir(lane.directory.path)).length !== filesBefore) problems.push(`${name}: a file was left`);
        if ((await lane.s3.leftovers([])).length > 0) problems.push(`${name}: an upload is open`);
        if (!(await lane.server.quiet(10_000))) problems.push(`${name}: a process was left in the pod`);
      }
    }),
  );
  expect(problems).toEqual([]);
  expect([...outcomes.keys()].sort()).toEqual(["storage-failed", "stream-lost"]);
}, 280_000);
