/** HTTP to a server in a pod, over connections that the API server forwards: for drivers whose engine speaks HTTP. */
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request as nodeRequest } from "node:http";
import { Duplex, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { connect as connectTls } from "node:tls";
import { type Bytes, collect } from "../base/bytes.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { Cluster, Pod } from "../cluster/cluster.ts";

/** A port of a pod. */
export interface PodPort {
  readonly cluster: Cluster;
  readonly pod: Pod;
  readonly port: number;
  /** Speak TLS inside the forwarded connection. The certificate is not checked: the way to the pod is already
   *  authenticated by Kubernetes, and servers in pods sign for themselves. */
  readonly tls: boolean;
}

/** An agent for `node:http` (and for clients that take one) whose connections go to the port, at most `connections` at a
 *  time, and are used again. The URL's scheme must be `http:` even with TLS inside; its host is sent and not resolved.
 *  When `signal` fires every connection is destroyed. The caller must call `destroy()`. */
export function podAgent(target: PodPort, signal: AbortSignal, connections = 8): Agent {
  return new PodAgent(target, signal, connections);
}

class PodAgent extends Agent {
  readonly #target: PodPort;
  readonly #signal: AbortSignal;

  constructor(target: PodPort, signal: AbortSignal, connections: number) {
    super({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections });
    this.#target = target;
    this.#signal = signal;
  }

  /** Returns at once: Node does not count connections that are still to come against `maxSockets`. */
  override createConnection(): Duplex {
    const { cluster, pod, port, tls } = this.#target;
    const connection = new PodConnection(() => cluster.connect(pod, port, this.#signal));
    return tls ? connectTls({ socket: connection, rejectUnauthorized: false }) : connection;
  }
}

/** A connection that is opened when it is first used, with the methods of net.Socket that `node:http` calls. */
class PodConnection extends Duplex {
  readonly #connect: () => Promise<Duplex>;
  #inner: Duplex | undefined;

  constructor(connect: () => Promise<Duplex>) {
    super({ allowHalfOpen: false }); // as net.Socket: an agent keeps no connection that the server has closed
    this.#connect = connect;
  }

  override _construct(done: (error?: Error) => void): void {
    this.#connect().then((inner) => {
      // What has failed before anybody listened tells nobody any more.
      if (inner.destroyed) {
        done(inner.errored ?? new Error("the connection was closed"));
        return;
      }
      this.#inner = inner;
      inner.on("data", (chunk) => {
        if (!this.push(chunk)) inner.pause();
      });
      inner.on("end", () => {
        this.push(null);
        this.read(0); // nobody reads while it waits for the next request, and without reading there is no "end"
      });
      inner.on("error", (error) => this.destroy(error));
      inner.on("close", () => {
        if (!inner.readableEnded) this.destroy(new Error("the connection was closed"));
      });
      done();
    }, done);
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const inner = this.#inner;
    if (inner === undefined || inner.writableEnded) {
      done(closedByServer());
      return;
    }
    // Why it is gone says more than that it is.
    inner.write(chunk, (error) => done(error && (inner.errored ?? error)));
  }

  override _final(done: () => void): void {
    this.#inner?.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#inner?.destroy();
    done(error);
  }

  // A forwarded connection watches itself; it has no timers or socket options to set.
  setKeepAlive = () => this;
  setNoDelay = () => this;
  setTimeout = () => this;
  ref = () => this;
  unref = () => this;
}

/** The server closed a connection that waited for its next request. By this code clients know that it may be sent again. */
function closedByServer(): Error {
  return Object.assign(new Error("the server has closed the connection"), { code: "ECONNRESET" });
}

export interface HttpRequest {
  readonly method: string;
  /** Path and query. Parts that come from elsewhere must be encoded with `encodeURIComponent`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent with its length when it is text or a Buffer, else chunked. */
  readonly body?: string | Buffer | Bytes;
  readonly signal: AbortSignal;
  /** Longest wait for the next bytes of an answer that has begun. Default: five minutes. Before it begins a server may be at
   *  work for as long as it likes. */
  readonly stallMs?: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Must be consumed to its end or broken out of. Throws when the connection ends before the body is whole. */
  readonly body: Bytes;
}

/** Sends one request. A status outside 2xx is no error here.
 *  @throws UserError `stream-lost` when no connection can be made or it breaks; what `body` throws. */
export async function openRequest(agent: Agent, request: HttpRequest): Promise<HttpResponse> {
  const { method, path, signal, body } = request;
  signal.throwIfAborted();
  const isWhole = body === undefined || typeof body === "string" || Buffer.isBuffer(body);
  const headers = {
    ...(isWhole && body !== undefined && { "content-length": Buffer.byteLength(body) }),
    ...request.headers,
  };
  const outgoing = nodeRequest({ agent, host: "localhost", method, path, headers, signal });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.on("error", reject);
    outgoing.once("close", () => reject(new Error("the connection was closed before an answer came")));
  });
  let bodyFailed: { readonly error: unknown } | undefined;
  async function* watched(source: Bytes): Bytes {
    try {
      yield* source;
    } catch (error) {
      bodyFailed = { error };
      throw error;
    }
  }
  try {
    if (isWhole) {
      outgoing.end(body);
    } else {
      // Not awaited: an answer that comes before the body is sent is a refusal, and says more than a broken pipe.
      pipeline(Readable.from(watched(body), { objectMode: false }), outgoing).catch(() => {});
    }
    const incoming = await answered;
    return { status: incoming.statusCode ?? 0, headers: incoming.headers, body: wholeBody(incoming, request) };
  } catch (error) {
    if (bodyFailed !== undefined) throw bodyFailed.error;
    throw asConnectionError(error, signal);
  }
}

const defaultStallMs = 300_000;

/** A pod that hangs keeps its connection, and the API server answers for it: only time tells. */
async function* wholeBody(
  incoming: IncomingMessage,
  { signal, stallMs = defaultStallMs }: Pick<HttpRequest, "signal" | "stallMs">,
): Bytes {
  const stalled = () => incoming.destroy(new Error(`nothing more of the answer came for ${stallMs / 1000} s`));
  let timer = setTimeout(stalled, stallMs);
  try {
    for await (const chunk of incoming) {
      clearTimeout(timer);
      yield chunk as Buffer; // no encoding is set, so chunks are Buffers
      timer = setTimeout(stalled, stallMs);
    }
    if (!incoming.complete) throw new Error("the answer was cut");
  } catch (error) {
    throw asConnectionError(error, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Sends one request and reads its answer whole.
 *  @throws as `openRequest`, and RangeError for an answer of more than `limitBytes`. */
export async function sendRequest(
  agent: Agent,
  request: HttpRequest,
  limitBytes = 16 * 1024 * 1024,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer }> {
  const { status, headers, body } = await openRequest(agent, request);
  return { status, headers, body: await collect(body, limitBytes) };
}

function asConnectionError(error: unknown, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof UserError) return error;
  return new UserError("stream-lost", `the connection to the pod failed: ${messageOf(error)}`, { cause: error });
}
