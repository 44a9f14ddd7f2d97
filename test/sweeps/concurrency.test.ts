/** Two runs at once in one namespace, begun at any distance of each other: the lock lets one of them work, the other is told
 *  "busy" or comes later, and what is there afterwards is the work of the one and then of the other, never a mixture. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, test } from "vitest";
import { backup } from "../../src/backup.ts";
import { digestOf } from "../../src/base/bytes.ts";
import { isOutcome, type UserError } from "../../src/base/errors.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { prune } from "../../src/prune.ts";
import { restore } from "../../src/restore.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import type { Manifest } from "../../src/snapshot/toc.ts";
import { directoryStore } from "../../src/stores/local.ts";
import { s3Store } from "../../src/stores/s3.ts";
import { isSnapshotFileName, type Store } from "../../src/stores/store.ts";
import { FakeApiServer } from "../fakes/api-server.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { mariadbPlan, scopeOf } from "../fakes/scope.ts";
import { fileOf, type MadeFile, never, noise } from "../snapshot/make.ts";
import { daily } from "../snapshots.ts";
import { bucket, quick, virtualClock } from "../stores/places.ts";
import { mariadbSnapshot } from "./mariadb-snapshot.ts";
import { type Random, sweep } from "./sweep.ts";

const lanes = 3;
const pairs = [
  ["create", "create"],
  ["create", "prune"],
  ["restore the oldest", "prune"],
  ["restore the oldest", "restore the newest"],
  ["create", "restore the oldest"],
] as const;
type Run = (typeof pairs)[number][number];

/** What the database held when each earlier snapshot was made, the oldest first; and what it holds now. */
const contents = ["oldest", "middle", "newest"].map((seed) => noise(30_000, seed).toString("base64"));
const present = noise(30_000, "present").toString("base64");

interface Lane {
  readonly server: FakeApiServer;
  readonly database: MariadbPod;
  readonly s3: FakeS3;
}

const all: Lane[] = [];
let earlier: readonly MadeFile[] = [];

beforeAll(async () => {
  const dates = daily(3, new Date("2026-11-20T03:00:00Z"));
  earlier = await Promise.all(contents.map((content, index) => mariadbSnapshot(content, dates[index] ?? new Date(0))));
  for (let at = 0; at < lanes; at += 1) {
    const database = new MariadbPod(present);
    const server = new FakeApiServer([database.pod]);
    await server.start();
    all.push({ database, server, s3: await new FakeS3({ minPartBytes: 1 }).start() });
  }
});
afterAll(async () => {
  for (const { server, s3 } of all) {
    await server.stop();
    await s3[Symbol.asyncDispose]();
  }
});

test("two at once", async () => {
  await sweep({
    ...{ name: "two at once", file: "test/sweeps/concurrency.test.ts", cases: 2000, sample: 30, lanes },
    async run(index, random, at) {
      const lane = all[at];
      if (lane === undefined) throw new RangeError(`no lane ${at}`);
      const place = random.pick(["s3", "directory"] as const);
      const folder = mkdtempSync(join(tmpdir(), "kaa-two-"));
      try {
        const act = new Act(lane, folder, place);
        const pair = pairs[index % pairs.length] ?? random.pick(pairs);
        const complaints = await act.play(pair, random);
        return complaints.length === 0 ? undefined : `${pair.join(" and ")}, ${place}: ${complaints.join("; ")}`;
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  });
});

class Act {
  readonly #lane: Lane;
  readonly #folder: string;
  readonly #place: "s3" | "directory";
  readonly #store: Store;

  constructor(lane: Lane, folder: string, place: "s3" | "directory") {
    this.#lane = lane;
    this.#folder = folder;
    this.#place = place;
    const credentials = { accessKeyId: "AKIAFAKEFAKEFAKEFAKE", secretAccessKey: "a-secret-that-must-not-leak" };
    const s3 = {
      bucket,
      endpoint: lane.s3.url,
      credentials,
      partSizeBytes: 8192,
      timing: quick,
      clock: virtualClock(),
    };
    this.#store = place === "s3" ? s3Store(s3) : directoryStore(folder);
    this.#reset();
  }

  async play(pair: readonly [Run, Run], random: Random): Promise<readonly string[]> {
    const apartMs = random.pick([0, 0, random.below(30), random.below(300)]);
    const isFirstLate = random.next() < 0.5;
    const ends = await Promise.all(
      pair.map(async (run, which) => {
        if ((which === 0) === isFirstLate) await sleep(apartMs);
        const error = await this.#run(run).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        return { run, error };
      }),
    );
    return [...this.#complaintsAboutEnds(ends), ...(await this.#complaintsAboutState(ends)), ...this.#leftovers()];
  }

  #reset(): void {
    const { server, database, s3 } = this.#lane;
    server.leases.clear();
    server.requests.length = 0;
    s3.buckets.all.clear();
    s3.log.length = 0;
    database.databases = new MariadbPod(present).databases;
    for (const { fileName, bytes } of earlier) {
      if (this.#place === "s3") s3.bucket(bucket).plant(fileName, bytes);
      else writeFileSync(join(this.#folder, fileName), bytes);
    }
  }

  async #run(run: Run): Promise<void> {
    const cluster = await connectCluster({ kubeconfig: this.#lane.server.kubeconfig });
    const scope = scopeOf(cluster, AbortSignal.timeout(240_000));
    if (run === "create") {
      await backup(mariadbPlan, scope, this.#store);
    } else if (run === "prune") {
      const retention = { last: 1, daily: 0, weekly: 0, monthly: 0, withinMs: 0 };
      // A directory has no namespace to be locked.
      const locked = this.#place === "s3" ? scope : undefined;
      const { reporter, signal } = scope;
      await prune({ retention, dryRun: false }, { namespace: "kaa", cluster: locked, reporter, signal }, this.#store);
    } else {
      const date = earlier.at(run === "restore the oldest" ? 0 : -1)?.manifest.name ?? "";
      const request = { date, sourceNamespace: "kaa", storages: mariadbPlan.storages, named: true, dryRun: false };
      const { failures } = await restore({ ...request, confirm: async () => {} }, scope, this.#store);
      if (failures[0] !== undefined) throw failures[0].error;
    }
  }

  #complaintsAboutEnds(ends: readonly { readonly run: Run; readonly error: unknown }[]): string[] {
    const found = ends.flatMap(({ run, error }) => {
      if (error === undefined || isOutcome(error, "busy")) return [];
      // Until it has the lock, a restore may lose the snapshot to a prune.
      const lostToPrune = run === "restore the oldest" && ends.some((each) => each.run === "prune");
      if (lostToPrune && isOutcome(error, "not-found", "object-store", "local-disk") && this.#isUntouched(error))
        return [];
      return [`${run} ended with ${error instanceof Error ? error.stack : String(error)}`];
    });
    return ends.every(({ error }) => error !== undefined) ? [...found, "neither has done its work"] : found;
  }

  #isUntouched({ effect }: UserError): boolean {
    return effect?.startsWith("nothing was changed") === true && this.#lane.database.databases.startsWith(present);
  }

  async #complaintsAboutState(ends: readonly { readonly run: Run; readonly error: unknown }[]): Promise<string[]> {
    const found: string[] = [];
    const done = ends.filter(({ error }) => error === undefined).map(({ run }) => run);
    const files = this.#files();
    const manifests: Manifest[] = [];
    for (const [fileName, bytes] of files) {
      try {
        const snapshot = await openSnapshot(fileOf({ fileName, bytes }), never);
        await snapshot.verifyAll(never);
        if (!earlier.some((each) => each.fileName === fileName)) manifests.push(snapshot.manifest);
      } catch (error) {
        found.push(`"${fileName}" is not whole: ${String(error)}`);
      }
    }
    const creates = done.filter((run) => run === "create").length;
    if (manifests.length !== creates) found.push(`${creates} creates have made ${manifests.length} snapshots`);
    const possible = [present, ...contents].map((content) => new MariadbPod(content).databases);
    for (const manifest of manifests) {
      const stream = manifest.instances[0]?.streams.find(({ name }) => name === "databases.sql");
      const isOne = possible.some((content) => digestOf(Buffer.from(content)).sha256 === stream?.plain.sha256);
      if (!isOne) found.push("what was dumped was never there");
    }
    if (!done.includes("prune") && earlier.some(({ fileName }) => !files.has(fileName)))
      found.push("a snapshot is lost");
    if (files.size === 0) found.push("no snapshot is left");
    const now = this.#lane.database.databases;
    const restored = done.flatMap((run) =>
      run === "restore the oldest" ? [contents[0]] : run === "restore the newest" ? [contents.at(-1)] : [],
    );
    const allowed = (restored.length === 0 ? [present] : restored).map((each) => new MariadbPod(each ?? "").databases);
    if (!allowed.includes(now)) found.push("the database holds what nobody has put there");
    return found;
  }

  #files(): ReadonlyMap<string, Buffer> {
    if (this.#place === "directory") {
      const names = readdirSync(this.#folder).filter(isSnapshotFileName);
      return new Map(names.map((name) => [name, readFileSync(join(this.#folder, name))]));
    }
    const held = this.#lane.s3.bucket(bucket);
    return new Map(
      [...held.objects.keys()].flatMap((key) => [[key, held.current(key)?.body ?? null] as const]).filter(isThere),
    );
  }

  #leftovers(): string[] {
    const { s3, server } = this.#lane;
    const hidden = readdirSync(this.#folder).filter((name) => !isSnapshotFileName(name));
    const holders = [...server.leases.values()].map(
      ({ body }) => (body["spec"] as Record<string, unknown>)["holderIdentity"],
    );
    return [
      ...hidden.map((name) => `"${name}" was left`),
      ...[...s3.bucket(bucket).uploads.values()].map(({ key }) => `an upload of "${key}" is open`),
      ...holders.filter((holder) => holder !== "").map((holder) => `the lock is held by ${String(holder)}`),
    ];
  }
}

function isThere(entry: readonly [string, Buffer | null]): entry is readonly [string, Buffer] {
  return entry[1] !== null;
}
