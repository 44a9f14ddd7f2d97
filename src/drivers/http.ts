/** HTTP to a server in a pod, over connections that the API server forwards: for drivers whose engine speaks HTTP. */
import { type Agent, type IncomingHttpHeaders, type IncomingMessage, request as nodeRequest } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Bytes, collect } from "../base/bytes.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { defaultStallMs, StallTimer, unstalled, workMs } from "../base/stall.ts";
import { PodAgent, type PodPort } from "./http/agent.ts";

/** An agent for `node:http` (and for clients that take one) whose connections go to the port, at most `connections` at a
 *  time, and are used again. The URL's scheme must be `http:` even with TLS inside; its host is sent and not resolved.
 *  When `signal` fires every connection is destroyed. The caller must call `destroy()`. */
export function podAgent(target: PodPort, signal: AbortSignal, connections = 8): Agent {
  return new PodAgent(target, signal, connections);
}

/** For requests that a server answers at once. */
export const quickMs = defaultStallMs;

export interface HttpRequest {
  readonly method: string;
  /** Path and query. Parts that come from elsewhere must be encoded with `encodeURIComponent`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent with its length when it is text or a Buffer, else chunked. */
  readonly body?: string | Buffer | Bytes;
  readonly signal: AbortSignal;
  /** Longest wait for the next bytes of an answer that has begun, and for the server to take more of the body. Default: five
   *  minutes. */
  readonly stallMs?: number;
  /** Longest wait for an answer to begin, once the body is sent. Default: half an hour, as engines answer some requests only
   *  when the work is done. `quickMs` is for the others. */
  readonly answerMs?: number;
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
  const { stallMs = defaultStallMs, answerMs = workMs } = request;
  const outgoing = nodeRequest({ agent, host: "localhost", method, path, headers, signal });
  const timer = new StallTimer((error) => outgoing.destroy(error));
  let isAnswered = false;
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.on("error", reject);
    outgoing.once("close", () => reject(new Error("the connection was closed before an answer came")));
  });
  let bodyFailed: { readonly error: unknown } | undefined;
  async function* watched(source: Bytes): Bytes {
    try {
      for await (const chunk of source) {
        // Behind `yield` the server takes it; before, it waits for us.
        if (!isAnswered) timer.start(stallMs);
        yield chunk;
        timer.stop();
      }
      if (!isAnswered) timer.start(answerMs);
    } catch (error) {
      bodyFailed = { error };
      throw error;
    }
  }
  try {
    if (isWhole) {
      // Until then it waits for its turn among the agent's connections.
      outgoing.once("socket", () => timer.start(answerMs));
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
  } finally {
    isAnswered = true;
    timer.stop();
  }
}

async function* wholeBody(incoming: IncomingMessage, { signal, stallMs }: HttpRequest): Bytes {
  try {
    yield* unstalled(incoming, stallMs);
    if (!incoming.complete) throw new Error("the answer was cut");
  } catch (error) {
    throw asConnectionError(error, signal);
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
