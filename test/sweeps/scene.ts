/** Create, restore, verify and prune in this process, against an S3 server or a directory, with one operation that fails; and
 *  what must hold afterwards. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { backup } from "../../src/backup.ts";
import { UserError } from "../../src/base/errors.ts";
import { prune } from "../../src/prune.ts";
import { restore } from "../../src/restore.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import { directoryStore } from "../../src/stores/local.ts";
import { s3Store } from "../../src/stores/s3.ts";
import { isSnapshotFileName, type Store } from "../../src/stores/store.ts";
import { verify } from "../../src/verify.ts";
import { type AnsweredCalls, answerCluster } from "../fakes/answer-cluster.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import type { FakeS3 } from "../fakes/s3-server.ts";
import { mariadbPlan, scopeOf } from "../fakes/scope.ts";
import { heldLock } from "../fakes/script-cluster.ts";
import { fileOf, type MadeFile, never } from "../snapshot/make.ts";
import { type DiskFault, FaultyDisk } from "../stores/faulty-disk.ts";
import { bucket, impatient, quick, virtualClock } from "../stores/places.ts";
import { actionOf, faultyCluster, faultyStore, Point, type Seam, type Way } from "./seams.ts";

export const commands = ["create", "restore", "verify", "prune"] as const;
export type Command = (typeof commands)[number];
export const places = ["s3", "directory"] as const;
export type Place = (typeof places)[number];

/** One operation and what becomes of it. */
export interface Fault {
  readonly seam: Seam;
  /** From 0; -1: none. */
  readonly nth: number;
  readonly way: Way;
}

export interface Given {
  readonly command: Command;
  readonly place: Place;
  readonly fault: Fault;
}

const forever = Number.POSITIVE_INFINITY;
const longestMs = 30_000;
const plan = { ...mariadbPlan, retry: { attempts: 2, pauseMs: 0, readyMs: 0 } } as const;

export class Scene {
  readonly #s3: FakeS3;
  readonly #earlier: readonly MadeFile[];
  readonly #source: string;

  /** @param earlier snapshots of a MariaDB that held `source`; the last is the newest. */
  constructor(s3: FakeS3, earlier: readonly MadeFile[], source: string) {
    this.#s3 = s3;
    this.#earlier = earlier;
    this.#source = source;
  }

  /** Runs a command.
   *  @returns names of the operations at the fault's seam, and what did not hold. */
  async play(
    given: Given,
  ): Promise<{ readonly operations: readonly string[]; readonly complaint: string | undefined }> {
    const folder = mkdtempSync(join(tmpdir(), "kaa-scene-"));
    try {
      return await new Act(this.#s3, this.#earlier, folder, given, this.#source).play();
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

class Act {
  readonly #s3: FakeS3;
  readonly #earlier: readonly MadeFile[];
  readonly #directory: string;
  readonly #given: Given;
  readonly #database: MariadbPod;
  readonly #expected: string;
  readonly #stop = new AbortController();
  readonly #point: Point;
  readonly #disk: FaultyDisk;
  /** Why the lock is held; undefined when it is not. */
  #purpose: string | undefined;
  #lastPurpose: string | undefined;

  constructor(s3: FakeS3, earlier: readonly MadeFile[], folder: string, given: Given, source: string) {
    this.#s3 = s3;
    this.#earlier = earlier;
    this.#directory = join(folder, "backup");
    this.#given = given;
    const { command, fault } = given;
    this.#expected = new MariadbPod(source).content;
    this.#database = new MariadbPod(command === "restore" ? "something else" : source);
    this.#point = new Point(fault.nth, this.#stop);
    this.#disk = new FaultyDisk(...(fault.seam === "disk" && fault.nth >= 0 ? [diskFault(fault)] : []));
  }

  async play() {
    const { command, fault } = this.#given;
    this.#reset();
    const before = this.#database.content;
    const startedAt = performance.now();
    const error = await this.#run(this.#faultyStore()).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    const tookMs = performance.now() - startedAt;
    this.#s3.clearFaults();
    const isCrash = fault.way === "crashed";
    const complaints = [
      ...(await this.#complaintsAbout(error, before)),
      ...(isCrash ? [] : this.#leftovers(error)),
      ...(tookMs > longestMs ? [`it took ${Math.round(tookMs)} ms`] : []),
      // What has failed or stopped must not keep the next run from its work.
      ...(command === "create" && error !== undefined ? await this.#nextRun(error) : []),
    ];
    const operations =
      fault.seam === "disk" ? this.#disk.calls.map((call) => call.split(" ")[0] ?? "") : this.#point.names;
    return { operations: [...operations], complaint: complaints.length === 0 ? undefined : complaints.join("; ") };
  }

  #reset(): void {
    this.#s3.clearFaults();
    this.#s3.log.length = 0;
    this.#s3.buckets.all.clear();
    mkdirSync(this.#directory, { mode: 0o700 });
    for (const { fileName, bytes } of this.#earlier) {
      if (this.#given.place === "s3") this.#s3.bucket(bucket).plant(fileName, bytes);
      else writeFileSync(join(this.#directory, fileName), bytes);
    }
  }

  #faultyStore(): Store {
    const { fault } = this.#given;
    const store = this.#store(fault.way === "silent", this.#disk.fileSystem);
    if (fault.seam === "store") return faultyStore(store, fault.way, this.#point);
    if (fault.seam !== "s3") return store;
    const action = actionOf(fault.way, this.#point);
    const always = fault.way === "crashed" || fault.way === "forbidden";
    this.#s3.onRequest = () => {};
    this.#s3.fault({
      nth: 1,
      times: forever,
      action: (run, request) => {
        const isStruck = this.#point.pass(request.operation) || (always && this.#point.isPast);
        return isStruck ? action(run, request) : run();
      },
    });
    return store;
  }

  #store(isSilent = false, fileSystem?: FaultyDisk["fileSystem"]): Store {
    if (this.#given.place === "directory") return directoryStore(this.#directory, fileSystem && { fileSystem });
    return s3Store({
      bucket,
      endpoint: this.#s3.url,
      credentials: { accessKeyId: "AKIAFAKEFAKEFAKEFAKE", secretAccessKey: "a-secret-that-must-not-leak" },
      partSizeBytes: 8 * 1024,
      timing: isSilent ? impatient : quick,
      clock: virtualClock(),
    });
  }

  async #run(store: Store, next?: { readonly abandoned: string | undefined }): Promise<unknown> {
    const { fault, place, command: first } = this.#given;
    const isFaulty = next === undefined;
    const command = isFaulty ? first : "create";
    const healthy = this.#cluster(next?.abandoned);
    const cluster = isFaulty && fault.seam === "cluster" ? faultyCluster(healthy, fault.way, this.#point) : healthy;
    const signal = isFaulty ? this.#stop.signal : never;
    const scope = scopeOf(cluster, signal);
    const newest = this.#earlier.at(-1)?.manifest.name ?? "";
    switch (command) {
      case "create":
        return await backup(plan, scope, store);
      case "verify":
        return await verify(store, newest, scope);
      case "restore": {
        const which = { date: newest, sourceNamespace: "kaa", storages: plan.storages, named: true, dryRun: false };
        const { failures } = await restore({ ...which, confirm: async () => {} }, scope, store);
        if (failures[0] !== undefined) throw failures[0].error;
        return undefined;
      }
      case "prune": {
        const retention = { last: 1, daily: 0, weekly: 0, monthly: 0, withinMs: 0 };
        const { reporter } = scope;
        // What `remove` locks is the cluster's namespace; a directory has none.
        const pruning = { namespace: "kaa", cluster: place === "s3" ? scope : undefined, reporter, signal };
        const { removals } = await prune({ retention, dryRun: false }, pruning, store);
        const stayed = removals.find(({ removed }) => !removed);
        if (stayed !== undefined) throw new UserError("attention", stayed.problems.join());
        return undefined;
      }
    }
  }

  /** @param abandoned what a run whose lock this one takes over was about. */
  #cluster(abandoned: string | undefined): AnsweredCalls {
    return {
      ...answerCluster("mariadb", this.#database.answer),
      lock: async (_namespace, purpose) => {
        this.#purpose = purpose;
        this.#lastPurpose = purpose;
        const release = async () => {
          this.#purpose = undefined;
        };
        return { ...heldLock, abandoned, release };
      },
    };
  }

  #files(): ReadonlyMap<string, Buffer> {
    if (this.#given.place === "directory") {
      const names = readdirSync(this.#directory);
      return new Map(names.map((name) => [name, readFileSync(join(this.#directory, name))]));
    }
    const { objects } = this.#s3.bucket(bucket);
    return new Map(
      [...objects.keys()].flatMap((key) => {
        const body = this.#s3.bucket(bucket).current(key)?.body;
        return body === undefined ? [] : [[key, body] as const];
      }),
    );
  }

  async #complaintsAbout(error: unknown, before: string): Promise<string[]> {
    const { command, fault } = this.#given;
    const found: string[] = [];
    const files = this.#files();
    const doomed = command === "prune" ? this.#earlier.slice(0, -1) : [];
    for (const each of this.#earlier) {
      const now = files.get(each.fileName);
      if (now === undefined ? doomed.includes(each) && (fault.nth >= 0 || error === undefined) : now.equals(each.bytes))
        continue;
      found.push(`I2: "${each.fileName}" is ${now === undefined ? "lost" : "changed"}`);
    }
    // What it cannot read it does not remove.
    const isSpoiled = fault.way === "short" || fault.way === "damaged";
    if (command === "prune" && error === undefined && files.size !== 1 && !isSpoiled)
      found.push("prune: not everything has gone");
    const news = [...files].filter(([name]) => !this.#earlier.some(({ fileName }) => fileName === name));
    const published = news.filter(([name, { byteLength }]) => isSnapshotFileName(name) && byteLength > 0);
    // A disk that lies when it is written to is found out by whoever reads.
    const diskLies = fault.seam === "disk" && fault.way === "damaged";
    for (const [fileName, bytes] of published) {
      if (!(await isWhole(fileName, bytes)) && !diskLies) found.push(`I1: "${fileName}" is not whole`);
    }
    if (command === "create" && error === undefined && published.length !== 1) found.push("I1: nothing is there");
    if (command !== "create" && published.length > 0) found.push("I1: something was published");
    if (command === "restore" && error === undefined && this.#database.content !== this.#expected)
      found.push("I3: what was restored is not what was dumped");
    if (command !== "restore" && this.#database.content !== before) found.push("I3: the source was changed");
    if (
      command === "restore" &&
      error !== undefined &&
      !this.#database.asked.includes("restore") &&
      this.#database.content !== before
    )
      found.push("I3: the target was changed");
    if (
      command === "verify" &&
      error === undefined &&
      fault.way === "damaged" &&
      fault.seam !== "cluster" &&
      fault.nth >= 0 &&
      this.#isRead(fault)
    )
      found.push("verify has not seen the damage");
    if (error !== undefined) found.push(...complaintsAboutError(error, command));
    return found;
  }

  /** True when the damage was one to what a command reads of a snapshot. */
  #isRead({ seam, nth }: Fault): boolean {
    const names = seam === "disk" ? this.#disk.calls : this.#point.names;
    return /^(read|file\.read|GetObject)$/.test(names[nth] ?? "");
  }

  #leftovers(...errors: readonly unknown[]): string[] {
    const told = errors.flatMap((error) => (error instanceof UserError ? [error.message, ...error.hints] : [])).join();
    const uploads = [...this.#s3.bucket(bucket).uploads.keys()].filter((id) => !told.includes(id));
    const files = [...this.#files()].filter(([name, { byteLength }]) => !isSnapshotFileName(name) || byteLength === 0);
    const temporary = files.map(([name]) => name).filter((name) => !told.includes(name));
    return [
      ...uploads.map((id) => `I4: the upload ${id} is open`),
      ...temporary.map((name) => `I4: "${name}" was left`),
      ...(this.#purpose !== undefined ? ["I4: the lock is held"] : []),
    ];
  }

  /** @param before the error with which the run before ended. */
  async #nextRun(before: unknown): Promise<string[]> {
    const isCrash = this.#given.fault.way === "crashed";
    if (isCrash && this.#given.place === "directory") this.#buryWriter();
    const isTaken = this.#files().size > this.#earlier.length;
    // A run that has published and could not say so has taken the name of this second.
    if (isTaken) await sleep(1000 - (Date.now() % 1000) + 2);
    const error = await this.#run(this.#store(), { abandoned: isCrash ? this.#lastPurpose : undefined }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    // What a run could not remove it has named; what a crashed one has left, the next one removes.
    const left = this.#leftovers(error, isCrash ? undefined : before);
    const complaints = [...(error === undefined ? [] : [`ended with ${String(error)}`]), ...left];
    return complaints.map((each) => `the next run: ${each}`);
  }

  /** Temporary files bear the number of the process that writes them: after a crash it is dead. */
  #buryWriter(): void {
    for (const name of readdirSync(this.#directory)) {
      const dead = name.replace(`~${process.pid}~`, `~${deadProcess}~`);
      renameSync(join(this.#directory, name), join(this.#directory, dead));
    }
  }
}

/** One more than the largest that Linux gives. */
const deadProcess = 2 ** 22 + 1;

function diskFault({ nth, way }: Fault): DiskFault {
  const code = way === "error" || way === "crashed" ? "EIO" : way;
  return { code, nth: nth + 1, times: way === "crashed" ? forever : 1 };
}

function complaintsAboutError(error: unknown, command: Command): string[] {
  if (!(error instanceof UserError)) return [`I5: ended with ${error instanceof Error ? error.stack : String(error)}`];
  if (error.outcome === "internal") return [`I5: ${error.stack}`];
  const tells = command === "create" || command === "restore";
  return tells && error.effect === undefined ? [`I5: no effect on data is told: ${error.message}`] : [];
}

async function isWhole(fileName: string, bytes: Buffer): Promise<boolean> {
  try {
    await (await openSnapshot(fileOf({ fileName, bytes }), never)).verifyAll(never);
    return true;
  } catch {
    return false;
  }
}
