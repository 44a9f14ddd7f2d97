/** Requests to the API server: kubeconfig's TLS and credentials on node:https, JSON in and out, refusals turned into
 *  errors that name the missing rule. */
import http, { type IncomingHttpHeaders, type IncomingMessage, type RequestOptions } from "node:http";
import https from "node:https";
import { messageOf, outcomeOr, UserError } from "../base/errors.ts";
import { fromJson, record } from "../base/json.ts";

/** Where the API server is and how to speak to it. Credentials are refreshed by each call of `requestOptions`. */
export interface Connection {
  readonly server: string;
  /** URL and TLS options, headers included, for one request or websocket.
   *  @throws UserError `credentials` when the kubeconfig's credential plugin fails. */
  requestOptions(path: string): Promise<{ readonly url: URL; readonly options: https.RequestOptions }>;
  /** Zero: no limit. kubectl's --request-timeout. */
  readonly requestTimeoutMs: number;
  /** Told of every request before it is sent: "GET /api/v1/namespaces/kaa/pods". Without the query, in which commands are. */
  readonly onRequest?: ((request: string) => void) | undefined;
  /** Told why something takes its time. */
  readonly onNote?: ((message: string) => void) | undefined;
}

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Begins with a slash; names in it already encoded by `apiPath`. */
  readonly path: string;
  readonly body?: unknown;
  /** For messages: `cannot list pods in "kaa"`. */
  readonly doing: string;
  readonly signal: AbortSignal;
  /** Told the headers of an answer that is a success. */
  readonly onHeaders?: (headers: IncomingHttpHeaders) => void;
}

/** The HTTP status and Kubernetes' own words behind an error made by `callApi`. */
export class ApiStatusError extends Error {
  readonly statusCode: number;
  /** How long the server asks to be left alone; 0 when it does not say. */
  readonly retryAfterMs: number;

  constructor(statusCode: number, message: string, retryAfterMs = 0) {
    super(message);
    this.name = "ApiStatusError";
    this.statusCode = statusCode;
    this.retryAfterMs = retryAfterMs;
  }
}

/** True when the API server answered with this HTTP status. */
export function isApiStatus(error: unknown, statusCode: number): boolean {
  return error instanceof UserError && error.cause instanceof ApiStatusError && error.cause.statusCode === statusCode;
}

/** Largest answer we read. A page of 500 pods is a few MiB. */
const answerLimitBytes = 64 * 1024 * 1024;
/** Of what a refusal says; Kubernetes' own are a few hundred bytes. */
const refusalLimitBytes = 64 * 1024;
const attempts = 4;
/** However long a server asks for. */
const longestRetryAfterMs = 30_000;

/** Path with each part encoded. */
export function apiPath(...parts: readonly string[]): string {
  return parts.map((part) => `/${encodeURIComponent(part)}`).join("");
}

/** One request, retried when the server is busy (429, 503) or a read meets a broken connection.
 *  @throws UserError `cluster`, `forbidden`, `credentials`, `not-found`, `busy` (409), with ApiStatusError as cause. */
export async function callApi(connection: Connection, request: ApiRequest): Promise<unknown> {
  const isRead = request.method === "GET";
  const mayHelp = (error: unknown) =>
    isBusyServer(error) || (isRead && (isBrokenConnection(error) || isBadMoment(error)));
  return await withRetries(request.signal, mayHelp, () => callOnce(connection, request));
}

/** Tries again, up to three times, when `mayHelp` says so, each time after a longer pause or the one that the server asks for. */
export async function withRetries<T>(
  signal: AbortSignal,
  mayHelp: (error: unknown) => boolean,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (error) {
      if (count === attempts || !mayHelp(error)) throw error;
      const askedMs =
        error instanceof UserError && error.cause instanceof ApiStatusError ? error.cause.retryAfterMs : 0;
      await pause(Math.max(250 * 2 ** count, Math.min(askedMs, longestRetryAfterMs)), signal);
    }
  }
}

async function callOnce(connection: Connection, request: ApiRequest): Promise<unknown> {
  const { url, options } = await connection.requestOptions(request.path);
  connection.onRequest?.(`${request.method} ${url.pathname}`);
  const body = request.body === undefined ? undefined : JSON.stringify(request.body);
  const headers = { ...options.headers, accept: "application/json" } as Record<string, string | string[] | number>;
  if (body !== undefined) {
    headers["content-type"] = request.method === "PATCH" ? "application/merge-patch+json" : "application/json";
    headers["content-length"] = Buffer.byteLength(body);
  }
  const { requestTimeoutMs: timeoutMs } = connection;
  const signal = timeoutMs === 0 ? request.signal : AbortSignal.any([request.signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const response = await send(url, { ...options, headers, method: request.method, signal }, body);
    if (statusCodeOf(response) >= 300) throw await readRefusal(response, request.doing);
    const answer = await readBody(response, answerLimitBytes);
    request.onHeaders?.(response.headers);
    return parseAnswer(answer, request.doing);
  } catch (error) {
    request.signal.throwIfAborted();
    if (error instanceof UserError) throw error;
    const reason = signal.aborted ? `no answer in ${timeoutMs / 1000} s` : reasonOf(error);
    throw new UserError(outcomeOr("cluster", error), `${request.doing}: cannot reach ${connection.server}: ${reason}`, {
      cause: error,
    });
  }
}

function send(url: URL, options: RequestOptions, body: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "http:" ? http : https).request(url, options, resolve);
    request.on("error", reject);
    request.end(body);
  });
}

function parseAnswer(answer: Buffer, doing: string): unknown {
  try {
    return JSON.parse(answer.toString("utf8"));
  } catch (error) {
    throw new UserError("cluster", `${doing}: the answer is not JSON; does a proxy answer instead of Kubernetes?`, {
      cause: error,
    });
  }
}

/** The server has done nothing, for want of time. */
function isBusyServer(error: unknown): boolean {
  return isApiStatus(error, 429) || isApiStatus(error, 503);
}

function isBadMoment(error: unknown): boolean {
  return isApiStatus(error, 500) || isApiStatus(error, 502) || isApiStatus(error, 504);
}

/** A refusal of an upgrade that a moment later may not be one: whatever was asked for has not begun. */
export function isPassingRefusal(error: unknown): boolean {
  return isBusyServer(error) || isBadMoment(error);
}

function isBrokenConnection(error: unknown): boolean {
  if (!(error instanceof UserError) || error.outcome !== "cluster") return false;
  const code = (error.cause as { code?: unknown } | undefined)?.code; // node's system errors carry a code
  return code === "ECONNRESET" || code === "EPIPE";
}

/** The body of an answer. @throws RangeError when it is larger than `limitBytes`. */
async function readBody(response: IncomingMessage, limitBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    total += chunk.byteLength;
    if (total > limitBytes) throw new RangeError(`an answer of more than ${limitBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total);
}

/** Node types it as absent for the requests that a server gets. */
function statusCodeOf({ statusCode = 0 }: IncomingMessage): number {
  return statusCode;
}

/** The error for an HTTP answer that is not a success. Of the body, only the beginning is read: a proxy's page can be long. */
export async function readRefusal(response: IncomingMessage, doing: string): Promise<UserError> {
  const statusCode = statusCodeOf(response);
  const words = wordsOf(await readBeginning(response));
  const cause = new ApiStatusError(statusCode, words, retryAfterOf(response));
  const message = `${doing}: ${words === "" ? `HTTP ${statusCode}` : words}`;
  switch (statusCode) {
    case 401:
      return new UserError("credentials", message, { cause, hints: ["log in again, or check the kubeconfig's user"] });
    case 403:
      return new UserError("forbidden", message, { cause, hints: missingRule(words) });
    case 404:
      return new UserError("not-found", message, { cause });
    case 409:
      return new UserError("busy", message, { cause });
    default:
      return new UserError("cluster", message, { cause });
  }
}

async function readBeginning(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    total += chunk.byteLength;
    if (total >= refusalLimitBytes) break;
  }
  return Buffer.concat(chunks);
}

/** Seconds, or a date. */
function retryAfterOf({ headers }: IncomingMessage): number {
  const asked = headers["retry-after"] ?? "";
  const waitMs = /^\d+$/.test(asked) ? Number(asked) * 1000 : Date.parse(asked) - Date.now();
  return waitMs > 0 ? waitMs : 0;
}

/** Kubernetes' message, or the first line of what a proxy said. */
function wordsOf(body: Buffer): string {
  const text = body.toString("utf8").trim();
  const { message } = record(fromJson(text));
  if (typeof message === "string") return message.slice(0, 1000);
  if (/^<(!doctype|html)/i.test(text)) return "a proxy answered with an HTML page";
  return text.replace(/\n.*$/s, "").slice(0, 300);
}

/** The RBAC rule that a refusal asks for. Source of the sentence's form: k8s.io/apiserver ForbiddenStatusError. */
function missingRule(words: string): readonly string[] {
  const found = /cannot (\w+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)")?/.exec(words);
  if (found === null) return [];
  const [, verb, resource, group, namespace] = found;
  const isStream = resource === "pods/exec" || resource === "pods/portforward";
  const verbs = isStream ? "get, create" : verb; // websockets need get, and from Kubernetes 1.35 create as well
  const where = namespace === undefined ? "a ClusterRole" : `a Role in namespace "${namespace}"`;
  return [`add to ${where}: {apiGroups: ["${group}"], resources: ["${resource}"], verbs: [${verbs}]}`];
}

/** Why there is no connection. Of a name with several addresses, Node tells one error for each, and says nothing itself. */
export function reasonOf(error: unknown): string {
  return messageOf(error instanceof AggregateError ? error.errors[0] : error);
}

/** Waits. @throws the signal's reason when it fires first. */
export function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, durationMs);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
