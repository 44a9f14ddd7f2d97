/** 200 backups through the whole program, from exec to the store, each over a connection that fails in its own way. The
 *  API server is scripted, the wrapper and its commands are real; the database's tools are stand-ins that behave. Nothing
 *  may be published, nothing left open in the store, nothing left running in the pod. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { backup } from "../../src/backup.ts";
import { UserError } from "../../src/base/errors.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import type { Scope } from "../../src/storages.ts";
import { type ExecFault, FakeApiServer } from "../fakes/api-server.ts";
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

/** What the driver's own SQL would tell. */
const inspection = {
  version: "10.11.1-MariaDB",
  tool: "mariadb-dump from 10.11.1-MariaDB",
  rootUser: "root",
  appUser: "",
  kept: ["root"],
  login: "root@%",
  missingRights: [],
  isReadOnly: false,
  isReplica: false,
  galeraNodes: 0,
  eventScheduler: "OFF",
  lowerCaseNames: 0,
  bytes: 5,
  databases: ["app"],
  strayDatabases: [],
  accounts: [{ user: "root", host: "%", isRole: false, plugins: [] }],
  notTransactional: [],
  external: [],
  unreadableViews: [],
  versioned: [],
  versionedByTransaction: [],
  lostDefiners: [],
  functions: [],
  engines: [],
  availableEngines: [],
  availablePlugins: [],
  counts: { databases: 1, tables: 1 },
};

/** MariaDB's client and dump tool, as far as the driver looks. */
function standInTools(folder: string): string {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const tool = (name: string, script: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}`);
    chmodSync(join(bin, name), 0o755);
  };
  tool(
    "mariadb",
    `case " $* " in *" -e "* | *--print-defaults*) exit ;; esac
case $(cat) in *json_quote*) echo '${JSON.stringify(inspection)}' ;; esac
`,
  );
  tool(
    "mariadb-dump",
    `case "$*" in *--version*) echo mariadb-dump 10.11 ;; *) head -c 700000 /dev/urandom | base64; echo "-- Dump completed on today" ;; esac\n`,
  );
  return bin;
}

const quietReporter: Scope["reporter"] = {
  started() {},
  progressBytes() {},
  finished() {},
  failed() {},
  note() {},
  warning() {},
};

interface Lane {
  readonly server: FakeApiServer;
  readonly s3: FakeUnderTest;
  readonly directory: Awaited<ReturnType<typeof directoryUnderTest>>;
}
const all: Lane[] = [];
let tools: string;

beforeAll(async () => {
  tools = mkdtempSync(join(tmpdir(), "kaa-tools-"));
  const bin = standInTools(tools);
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
    liveness: { pingMs: 150, silenceMs: 1500, handshakeMs: 10_000, closeMs: 500 },
  });
  const scope: Scope = {
    cluster,
    namespace: "kaa",
    releasePrefix: "",
    environment: {},
    compression: "auto",
    location: { region: "us-east-1" },
    reporter: quietReporter,
    signal: AbortSignal.timeout(60_000),
  };
  const plan = {
    storages: ["mariadb"] as const,
    named: true,
    strict: true,
    compressionLevel: 1,
    tool: { name: "test", version: "0" },
    retry: { attempts: 1, pauseMs: 0, readyMs: 0 },
  };
  return await backup(plan, scope, toS3 ? s3.store : directory.store);
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
