/** The REST API of Open Distro, Elasticsearch or OpenSearch: one node, one login. */
import type { Agent } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { isOutcome, UserError } from "../../base/errors.ts";
import type { Pod } from "../../cluster/cluster.ts";
import { chooseContainerPort, field, readEnvironment } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { podAgent, sendRequest } from "../http.ts";

export const userVariable = "OPENDISTRO_USERNAME";
export const passwordVariable = "OPENDISTRO_PASSWORD";

/** An answer that is no success. `type` is the engine's own: "index_not_found_exception". */
export class ApiError extends Error {
  readonly status: number;
  readonly type: string;

  constructor(doing: string, status: number, body: unknown) {
    const error = field(body, "error");
    const cause = field(error, "root_cause");
    const first: unknown = Array.isArray(cause) ? cause[0] : error;
    const reason = field(first, "reason") ?? (typeof error === "string" ? error : "no reason given");
    super(`${doing}: HTTP ${status}: ${String(reason).slice(0, 1000)}`);
    this.name = "ApiError";
    this.status = status;
    this.type = String(field(first, "type") ?? "");
  }
}

interface About {
  readonly root: unknown;
  readonly authorization: string | undefined;
  readonly signal: AbortSignal;
}

export class SearchApi {
  readonly version: string;
  /** "opensearch", or "" for Elasticsearch and Open Distro. */
  readonly distribution: string;
  readonly clusterId: string;
  readonly #agent: Agent;
  readonly #about: About;

  private constructor(agent: Agent, about: About) {
    this.#agent = agent;
    this.#about = about;
    const version = field(about.root, "version");
    this.version = String(field(version, "number") ?? "unknown");
    this.distribution = String(field(version, "distribution") ?? "");
    this.clusterId = String(field(about.root, "cluster_uuid") ?? "");
  }

  /** Connects to a node that answers HTTP. The caller must `close()`.
   *  @throws UserError `storage-not-ready`, `credentials`. */
  static async connect(instance: Instance, context: Context): Promise<SearchApi> {
    const pod = httpPod(instance);
    const { port } = chooseContainerPort(pod, { names: ["http", "https", "rest"], fallback: 9200 });
    const { cluster, signal } = context;
    const authorization = await authorizationOf(pod, context);
    let failure: unknown;
    for (const tls of [true, false]) {
      const agent = podAgent({ cluster, pod, port, tls }, signal);
      try {
        const headers = authorization === undefined ? {} : { authorization };
        const { status, body } = await sendRequest(agent, { method: "GET", path: "/", headers, signal });
        if (status === 401 || status === 403) throw refusedLogin(pod, authorization !== undefined);
        if (status !== 200) throw new UserError("storage-not-ready", `pod "${pod.name}" answers HTTP ${status}`);
        return new SearchApi(agent, { root: JSON.parse(body.toString("utf8")), authorization, signal });
      } catch (error) {
        agent.destroy();
        signal.throwIfAborted();
        if (!isOutcome(error, "stream-lost")) throw error;
        failure = error; // a plain server closes a connection that begins with TLS
      }
    }
    throw new UserError("storage-not-ready", `Open Distro in pod "${pod.name}" does not answer on port ${port}`, {
      cause: failure,
    });
  }

  close(): void {
    this.#agent.destroy();
  }

  /** The same connections, for calls that end when `limit` fires too. It need not be closed. */
  until(limit: AbortSignal): SearchApi {
    return new SearchApi(this.#agent, { ...this.#about, signal: AbortSignal.any([this.#about.signal, limit]) });
  }

  /** Calls the API. Names in the path must be encoded by `encodeURIComponent`.
   *  @returns the parsed answer. @throws ApiError; UserError `credentials` for 401 and 403. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const { authorization, signal } = this.#about;
    const answer = await sendRequest(
      this.#agent,
      {
        method,
        path,
        headers: {
          ...(authorization !== undefined && { authorization }),
          ...(body !== undefined && { "content-type": "application/json" }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal,
      },
      256 * 1024 * 1024,
    );
    const parsed = parse(answer.body.toString("utf8"));
    const doing = `${method} ${path.split("?")[0]}`;
    if (answer.status < 300) return parsed;
    const error = new ApiError(doing, answer.status, parsed);
    if (answer.status === 401 || answer.status === 403)
      throw new UserError("credentials", `Open Distro refuses ${error.message}`, { cause: error });
    throw error;
  }

  /** As `call`; undefined when there is no such thing, or the engine does not know the endpoint. */
  async find(path: string): Promise<unknown> {
    try {
      return await this.call("GET", path);
    } catch (error) {
      if (error instanceof ApiError && [400, 404, 405].includes(error.status)) return undefined;
      throw error;
    }
  }

  /** As `call`; what is not there need not be deleted. */
  async remove(path: string): Promise<void> {
    try {
      await this.call("DELETE", path);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) throw error;
    }
  }
}

const lostMs = 60_000;
const askAgainMs = 1000;

/** Asks about what the engine does by itself. A connection that breaks says nothing about that: it is asked again, until no
 *  answer has come for a minute. */
export async function askPatiently<T>(signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + lostMs;
  while (true) {
    try {
      return await ask();
    } catch (error) {
      if (!isOutcome(error, "stream-lost", "cluster") || performance.now() > giveUpAt) throw error;
      await pause(askAgainMs, undefined, { signal });
    }
  }
}

function parse(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    return { error: text.slice(0, 200) };
  }
}

/** A coordinating node before a master, and that before a data node: what clients are meant to speak to. */
function httpPod(instance: Instance): Pod {
  const order = ["client", "master", "data"];
  const ready = instance.pods.filter((pod) => pod.ready);
  const rank = (pod: Pod) => {
    const hasPort = pod.containers.some((each) =>
      each.ports.some(({ port, name }) => port === 9200 || name === "http"),
    );
    return (hasPort ? 0 : order.length) + Math.max(0, order.indexOf(pod.labels["role"] ?? ""));
  };
  const [pod] = ready.toSorted((a, b) => rank(a) - rank(b));
  if (pod !== undefined) return pod;
  const states = instance.pods.map((each) => `${each.name} (${each.phase}, not ready)`).join(", ");
  throw new UserError("storage-not-ready", `no pod of "${instance.name}" is ready: ${states || "there is none"}`);
}

async function authorizationOf(pod: Pod, context: Context): Promise<string | undefined> {
  const names = ["ELASTIC_PASSWORD", "ELASTICSEARCH_PASSWORD", "OPENSEARCH_INITIAL_ADMIN_PASSWORD"] as const;
  let password = context.credentials[passwordVariable];
  const container = containerOf(pod);
  if (password === undefined && names.some((name) => container.environment[name] !== undefined)) {
    const found = await readEnvironment(context, { pod, container: container.name }, names);
    password = names.map((name) => found[name]).find((value) => value !== undefined);
  }
  if (password === undefined) return undefined;
  const user = context.credentials[userVariable] ?? "admin";
  return `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`;
}

/** The container of a node: the one with the engine's port, else the first. */
export function containerOf(pod: Pod): Pod["containers"][number] {
  const found =
    pod.containers.find((each) => each.ports.some(({ port }) => port === 9200 || port === 9300)) ?? pod.containers[0];
  if (found === undefined) throw new UserError("storage-not-ready", `pod "${pod.name}" has no container`);
  return found;
}

function refusedLogin(pod: Pod, wasGiven: boolean): UserError {
  const says = wasGiven ? "refuses the login" : "wants a login";
  return new UserError("credentials", `Open Distro in pod "${pod.name}" ${says}`, {
    hints: [`give it in ${userVariable} (default: admin) and ${passwordVariable}`],
  });
}
