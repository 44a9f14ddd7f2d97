/** A strict S3 server in memory, on loopback. It checks what real ones check (signatures' form, hashes of bodies, checksums,
 *  conditions, owners, order of parts) and does what a test tells it to do wrong. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type Buckets,
  errorDocument,
  type FakeAnswer,
  type FakeRequest,
  type Operation,
  operationOf,
  perform,
} from "./s3-operations.ts";
import { FakeBucket, type FakeOptions, S3Error } from "./s3-state.ts";

/** What a fault does with a request: answers in the server's place, or lets it work and spoils the outcome.
 *  "reset" cuts the connection, "hang" never answers. */
export type FaultAction = (
  run: () => FakeAnswer,
  request: FakeRequest,
) => FakeAnswer | "reset" | "hang" | Promise<FakeAnswer | "reset" | "hang">;

export interface Fault {
  /** Any operation when absent. */
  readonly operation?: Operation | readonly Operation[];
  /** The first matching request to hit, counted from 1 since the fault was added. Default: 1. */
  readonly nth?: number;
  /** How many matching requests to hit from then on. Default: 1; Infinity: for ever. */
  readonly times?: number;
  readonly action: FaultAction;
}

export interface LoggedRequest {
  readonly bucket: string;
  readonly operation: Operation;
  readonly key: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | undefined>>;
  status: number | "reset" | "hang" | "gone";
}

export class FakeS3 {
  readonly log: LoggedRequest[] = [];
  readonly buckets: Buckets;
  readonly account = "111122223333";
  /** Called when a request has arrived, before it is answered. */
  onRequest: () => void = () => undefined;
  #faults: { readonly fault: Fault; seen: number }[] = [];
  readonly #options: FakeOptions;
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  #bodyTurnAt = 0;

  constructor(options: FakeOptions = {}) {
    this.#options = options;
    const all = new Map<string, FakeBucket>();
    this.buckets = {
      all,
      account: this.account,
      region: "us-east-1",
      pageSize: options.pageSize ?? 1000,
      clockAheadMs: 0,
      create: (name) => {
        const bucket = new FakeBucket(this.account, options);
        all.set(name, bucket);
        return bucket;
      },
    };
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The bucket, made when absent. */
  bucket(name: string): FakeBucket {
    return this.buckets.all.get(name) ?? this.buckets.create(name);
  }

  fault(fault: Fault): void {
    this.#faults.push({ fault, seen: 0 });
  }

  clearFaults(): void {
    this.#faults = [];
  }

  /** Operations asked for since the start, in order. */
  get operations(): Operation[] {
    return this.log.map(({ operation }) => operation);
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const request = parse(incoming);
      const logged: LoggedRequest = { ...request, status: "gone" };
      this.log.push(logged);
      request.body = await this.#readBody(incoming);
      this.onRequest();
      const answer = await this.#answer(request);
      logged.status = typeof answer === "string" ? answer : answer.status;
      if (answer === "hang") return;
      if (answer === "reset") incoming.socket.resetAndDestroy();
      else send(response, request.method, this.#dated(answer));
    } catch (error) {
      // The client went away in mid-request.
      if (incoming.destroyed || incoming.socket.destroyed) return;
      const known = error instanceof S3Error ? error : new S3Error(500, "InternalError", String(error));
      send(response, incoming.method ?? "", this.#dated(asAnswer(known)));
    }
  }

  async #answer(request: FakeRequest): Promise<FakeAnswer | "reset" | "hang"> {
    const run = () => {
      try {
        return perform(request, this.buckets);
      } catch (error) {
        if (!(error instanceof S3Error)) throw error;
        return asAnswer(error);
      }
    };
    let action: FaultAction | undefined;
    for (const entry of this.#faults) {
      const { operation, nth = 1, times = 1 } = entry.fault;
      if (operation !== undefined && ![operation].flat().includes(request.operation)) continue;
      entry.seen++;
      if (entry.seen >= nth && entry.seen < nth + times) action ??= entry.fault.action;
    }
    return action === undefined ? run() : await action(run, request);
  }

  #dated(given: FakeAnswer): FakeAnswer {
    const date = new Date(Date.now() + this.buckets.clockAheadMs).toUTCString();
    return { ...given, headers: { date, ...given.headers } };
  }

  async #readBody(incoming: IncomingMessage): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      if (this.#options.bytesPerSecond === undefined) continue;
      this.#bodyTurnAt =
        Math.max(this.#bodyTurnAt, performance.now()) + (chunk.byteLength / this.#options.bytesPerSecond) * 1000;
      const waitMs = this.#bodyTurnAt - performance.now();
      if (waitMs > 5) await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
    return Buffer.concat(chunks);
  }
}

/** The answer 503 SlowDown and its like. */
export function refuse(status: number, code: string, message?: string): FaultAction {
  return () => asAnswer(new S3Error(status, code, message));
}

/** The connection breaks before anything was done. */
export const reset: FaultAction = () => "reset";

/** It is done, but the answer gets lost. */
export const loseAnswer: FaultAction = (run) => {
  run();
  return "reset";
};

/** No answer ever comes. */
export const hang: FaultAction = () => "hang";

/** Any answer, such as a proxy's page; nothing was done. */
export function answer(given: FakeAnswer): FaultAction {
  return () => given;
}

export function delay(durationMs: number): FaultAction {
  return async (run) => {
    await new Promise((resolve) => setTimeout(resolve, durationMs));
    return run();
  };
}

/** It is done, and the answer changed on its way. */
export function change(how: (given: FakeAnswer) => FakeAnswer): FaultAction {
  return (run) => how(run());
}

function asAnswer(error: S3Error): FakeAnswer {
  return { status: error.status, body: errorDocument(error.code, error.message) };
}

function parse(incoming: IncomingMessage): FakeRequest {
  const url = new URL(incoming.url ?? "/", "http://fake");
  const [, bucket = "", ...rest] = decodeURIComponent(url.pathname).split("/");
  const method = incoming.method ?? "";
  const key = rest.join("/");
  const query = url.searchParams;
  const headers = incoming.headers as Record<string, string | undefined>; // of the headers used here none is repeated
  return {
    operation: operationOf(method, bucket, key, query),
    method,
    bucket,
    key,
    query,
    headers,
    body: Buffer.alloc(0),
  };
}

function send(response: ServerResponse, method: string, given: FakeAnswer): void {
  const body = Buffer.from(given.body ?? "");
  const type = typeof given.body === "string" ? { "content-type": "application/xml" } : {};
  const length = given.status === 204 ? {} : { "content-length": String(body.byteLength) };
  response.writeHead(given.status, { ...type, ...length, ...given.headers });
  const limit = given.cutAfterBytes ?? given.stallAfterBytes;
  if (method === "HEAD" || given.status === 204) response.end();
  else if (limit === undefined) response.end(body);
  else {
    response.write(body.subarray(0, limit), () => {
      if (given.cutAfterBytes !== undefined) response.socket?.resetAndDestroy();
    });
  }
}
