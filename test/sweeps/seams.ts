/** The seams of a use-case, each with one operation that goes wrong: the Cluster and the Store as contracts, the requests to
 *  S3, the calls of the file system. A point is the number of an operation, in the order in which they are asked for. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Bytes } from "../../src/base/bytes.ts";
import { UserError } from "../../src/base/errors.ts";
import type { Execution } from "../../src/cluster/cluster.ts";
import type { OpenFile, Store } from "../../src/stores/store.ts";
import type { AnsweredCalls } from "../fakes/answer-cluster.ts";
import { change, delay, type FaultAction, hang, loseAnswer, refuse, reset } from "../fakes/s3-server.ts";

export const seams = ["cluster", "store", "s3", "disk"] as const;
export type Seam = (typeof seams)[number];

/** `killed`: the run is told to stop at this moment; `crashed`: nothing works any more from here on. */
export type Way = "error" | "short" | "damaged" | "late" | "killed" | "crashed" | "lost" | "silent" | "forbidden";

const lateMs = 40;

/** Counts operations, and says when it is the turn of the one that goes wrong. */
export class Point {
  readonly names: string[] = [];
  readonly #nth: number;
  readonly #stop: AbortController;

  /** @param nth from 0; -1: none.
   *  @param stop stops the run that is under way. */
  constructor(nth: number, stop: AbortController) {
    this.#nth = nth;
    this.#stop = stop;
  }

  pass(name: string): boolean {
    this.names.push(name);
    return this.names.length - 1 === this.#nth;
  }

  /** It has had its turn. */
  get isPast(): boolean {
    return this.#nth >= 0 && this.names.length - 1 > this.#nth;
  }

  kill(): void {
    this.#stop.abort(new UserError("terminated", "stopped by SIGTERM"));
  }
}

/** What an operation of a contract can do wrong. */
export function waysOf(seam: Seam, operation: string): readonly Way[] {
  const moves = /^(execute|read|file\.read|file\.write|GetObject)$/.test(operation);
  const ways: Readonly<Record<Seam, readonly Way[]>> = {
    cluster: ["error", "late", "killed", ...(moves ? (["short", "damaged"] as const) : [])],
    store: ["error", "late", "killed", ...(moves ? (["short", "damaged"] as const) : [])],
    s3: ["error", "forbidden", "late", "killed", "crashed", "lost", "silent", "short", "damaged"],
    disk: ["error", "late", "crashed", ...(moves ? (["short", "damaged"] as const) : [])],
  };
  return ways[seam];
}

/** One operation before it is done. @throws what it fails with. */
async function strike(way: Way, point: Point, error: UserError): Promise<void> {
  if (way === "error") throw error;
  if (way === "late") await sleep(lateMs);
  if (way === "killed") point.kill();
}

export function faultyCluster(cluster: AnsweredCalls, way: Way, point: Point): AnsweredCalls {
  const lost = () => new UserError("cluster", "injected: the API server cannot be reached");
  const at = async (name: string) => {
    if (point.pass(name)) await strike(way, point, lost());
  };
  return {
    async checkNamespace(...args) {
      await at("checkNamespace");
      await cluster.checkNamespace(...args);
    },
    async listPods(...args) {
      await at("listPods");
      return await cluster.listPods(...args);
    },
    async version(...args) {
      await at("version");
      return await cluster.version(...args);
    },
    async lock(...args) {
      await at("lock");
      const lock = await cluster.lock(...args);
      return {
        ...lock,
        async confirm() {
          await at("confirm");
          await lock.confirm();
        },
        async release() {
          await lock.release();
          await at("release"); // it is done, and the answer is lost
        },
      };
    },
    execute(target, command) {
      const real = cluster.execute(target, command);
      return point.pass("execute") ? faultyExecution(real, way, point) : real;
    },
  };
}

/** As the contract has it: what is not whole ends with an error, in the output and in `done`. */
function faultyExecution({ output, done }: Execution, way: Way, point: Point): Execution {
  const broken = new UserError(way === "damaged" ? "storage-failed" : "stream-lost", "injected: not whole");
  const failing = way === "error" || way === "short" || way === "damaged";
  const ended = done.then(async (result) => {
    if (failing) throw broken;
    await strike(way, point, broken);
    return result;
  });
  ended.catch(() => {}); // whoever only reads the output gets the same error there
  async function* bytes(): Bytes {
    if (way === "error") throw broken;
    for await (const chunk of output) {
      if (way === "killed") point.kill();
      if (way === "late") await sleep(lateMs);
      yield failing ? altered(chunk, way) : chunk;
    }
    if (failing) throw broken;
  }
  return { output: bytes(), done: ended };
}

function altered(chunk: Uint8Array, way: Way): Uint8Array {
  if (way === "short") return chunk.subarray(0, chunk.byteLength >> 1);
  const copy = Buffer.from(chunk);
  // The last byte: of a read that brings more than is needed, the end is what is looked at.
  const at = chunk.byteLength - 1;
  if (copy.byteLength > 0) copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}

/** A store that fails within its contract; but its reads may be cut or damaged, which a reader must find by itself. */
export function faultyStore(store: Store, way: Way, point: Point): Store {
  const failed = () => new UserError("object-store", "injected: the store failed");
  const at = async (name: string) => {
    if (point.pass(name)) await strike(way, point, failed());
  };
  return {
    ...store,
    async prepare(signal) {
      await at("prepare");
      await store.prepare(signal);
    },
    async save(request) {
      await at("save");
      return await store.save(request);
    },
    async discardUnfinished(...args) {
      await at("discardUnfinished");
      await store.discardUnfinished(...args);
    },
    async *list(signal) {
      await at("list");
      yield* store.list(signal);
    },
    async open(...args) {
      await at("open");
      return faultyFile(await store.open(...args), way, point);
    },
    async remove(...args) {
      await at("remove");
      await store.remove(...args);
    },
  };
}

function faultyFile(file: OpenFile, way: Way, point: Point): OpenFile {
  return {
    fileName: file.fileName,
    sizeBytes: file.sizeBytes,
    async *read(...args) {
      const isStruck = point.pass("read");
      if (isStruck) await strike(way, point, new UserError("object-store", "injected: the read failed"));
      const spoils = isStruck && (way === "short" || way === "damaged");
      for await (const chunk of file.read(...args)) yield spoils ? altered(chunk, way) : chunk;
    },
    async close() {
      await file.close();
    },
  };
}

/** What happens to one request to S3. */
export function actionOf(way: Way, point: Point): FaultAction {
  const body = (given: string | Buffer | undefined) => Buffer.from(given ?? "");
  const actions: Readonly<Record<Way, FaultAction>> = {
    error: refuse(500, "InternalError"),
    forbidden: refuse(403, "AccessDenied"),
    late: delay(lateMs),
    killed: (run) => {
      point.kill();
      return run();
    },
    crashed: reset,
    lost: loseAnswer,
    silent: hang,
    short: change((given) => ({ ...given, cutAfterBytes: body(given.body).byteLength >> 1 })),
    damaged: (run, request) => {
      // What is sent changes on its way there, else what is answered on its way back.
      if (request.body.byteLength > 0) request.body = Buffer.from(altered(request.body, "damaged"));
      const given = run();
      return request.body.byteLength > 0 || given.body === undefined ? given : { ...given, body: spoiled(given.body) };
    },
  };
  return actions[way];
}

/** A document keeps its form: what no parser takes is another fault. */
function spoiled(body: string | Buffer): string | Buffer {
  return typeof body === "string" ? body : Buffer.from(altered(body, "damaged"));
}
