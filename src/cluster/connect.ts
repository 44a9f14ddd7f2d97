/** Connects to a cluster as kubectl would: kubeconfig.ts decides where and as whom. */
import type { RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { messageOf, outcomeOr, UserError } from "../base/errors.ts";
import { record, text } from "../base/json.ts";
import { apiPath, type Connection, callApi, isApiStatus } from "./api.ts";
import type { Cluster, Pod } from "./cluster.ts";
import { openForward } from "./forward.ts";
import { type Access, type AccessOptions, readAccess } from "./kubeconfig.ts";
import { holderName, refuseIfLocked, takeLock } from "./lock.ts";
import { apiObjects, listAll } from "./objects.ts";
import { parsePod } from "./pods.ts";
import { executeRemote } from "./remote.ts";
import { isAllowed, serverTime } from "./rights.ts";
import { defaultLiveness, type Liveness } from "./socket.ts";

export interface ConnectOptions extends AccessOptions {
  /** 0: no limit. Default: 30 s. */
  readonly requestTimeoutMs?: number;
  readonly liveness?: Liveness;
  /** Longest wait for the kubeconfig's credential plugin. Default: a minute, for some open a browser and wait for a person. */
  readonly credentialsMs?: number;
  /** As in Connection. */
  readonly onRequest?: (request: string) => void;
  /** As in Connection. */
  readonly onNote?: (message: string) => void;
}

const defaultTimeoutMs = 30_000;
const defaultCredentialsMs = 60_000;

/** Reads the configuration; contacts nobody yet.
 *  @throws UserError `usage` for a kubeconfig that cannot be read, or lacks what a flag names. */
export async function connectCluster(options: ConnectOptions): Promise<Cluster> {
  const access = await readAccess(options);
  const connection: Connection = {
    server: access.server,
    requestTimeoutMs: options.requestTimeoutMs ?? defaultTimeoutMs,
    requestOptions: (path) => requestOptions(access, path, options.credentialsMs ?? defaultCredentialsMs),
    onRequest: options.onRequest,
    onNote: options.onNote,
  };
  return clusterOver(connection, { ...access, liveness: options.liveness ?? defaultLiveness });
}

function clusterOver(
  connection: Connection,
  facts: Pick<Access, "contextName" | "namespace" | "isVerified"> & { readonly liveness: Liveness },
): Cluster {
  const get = (path: string, doing: string, signal: AbortSignal) =>
    callApi(connection, { method: "GET", path, doing, signal });
  const checkPod = async (pod: Pod, signal: AbortSignal) => {
    const path = apiPath("api", "v1", "namespaces", pod.namespace, "pods", pod.name);
    const now = await get(path, `cannot read pod "${pod.name}"`, signal).then(parsePod, unlessAbsent);
    if (now?.uid === pod.uid) return;
    const became = now === undefined ? "deleted" : "replaced";
    throw new UserError(
      "storage-not-ready",
      `pod "${pod.namespace}/${pod.name}" was ${became} while we worked with it`,
    );
  };
  return {
    server: connection.server,
    contextName: facts.contextName,
    defaultNamespace: facts.namespace,
    isVerified: facts.isVerified,
    async version(signal) {
      return text(record(await get("/version", "cannot read the version of the cluster", signal))["gitVersion"]);
    },
    async listNamespaces(signal) {
      const objects = await listAll(connection, {
        path: apiPath("api", "v1", "namespaces"),
        doing: "cannot list namespaces",
        signal,
      });
      return objects.map((each) => text(record(each["metadata"])["name"]));
    },
    async checkNamespace(namespace, signal) {
      try {
        await get(apiPath("api", "v1", "namespaces", namespace), `cannot read namespace "${namespace}"`, signal);
      } catch (error) {
        if (!isApiStatus(error, 403)) throw error;
        // A Role inside the namespace may not read the namespace itself; listing its pods will tell.
      }
    },
    async listPods(namespace, signal) {
      const path = apiPath("api", "v1", "namespaces", namespace, "pods");
      const pods = await listAll(connection, { path, doing: "cannot list pods", namespace, signal });
      return pods.flatMap((each) => parsePod(each) ?? []);
    },
    readSecret: (namespace, name, key, signal) => readSecret(get, { namespace, name, key, signal }),
    execute: (target, command) =>
      executeRemote(connection, target, command, {
        liveness: facts.liveness,
        checkPod: (signal) => checkPod(target.pod, signal),
      }),
    async connect(pod, port, signal) {
      const probe = () => checkPod(pod, signal).then(() => true);
      const stream = await openForward(connection, { pod, port, signal, liveness: facts.liveness, probe });
      try {
        await checkPod(pod, signal);
      } catch (error) {
        stream.destroy();
        throw error;
      }
      if (stream.errored !== null) throw stream.errored; // refused meanwhile
      return stream;
    },
    lock: (namespace, purpose, signal) => takeLock(connection, { namespace, holder: holderName(), purpose, signal }),
    checkLock: (namespace, signal) => refuseIfLocked(connection, namespace, signal),
    isAllowed: (namespace, right, signal) => isAllowed(connection, namespace, right, signal),
    serverTime: (signal) => serverTime(connection, signal),
    objects: apiObjects(connection),
  };
}

function unlessAbsent(error: unknown): undefined {
  if (!isApiStatus(error, 404)) throw error;
}

type Get = (path: string, doing: string, signal: AbortSignal) => Promise<unknown>;

async function readSecret(
  get: Get,
  { namespace, name, key, signal }: { namespace: string; name: string; key: string; signal: AbortSignal },
): Promise<string | undefined> {
  try {
    const path = apiPath("api", "v1", "namespaces", namespace, "secrets", name);
    const data = record(record(await get(path, `cannot read secret "${name}"`, signal))["data"]);
    return data[key] === undefined ? undefined : Buffer.from(text(data[key]), "base64").toString("utf8");
  } catch (error) {
    if (isApiStatus(error, 404)) return undefined;
    throw error;
  }
}

/** The library waits for a credential plugin for ever. */
async function beforeDeadline(work: Promise<unknown>, longestMs: number): Promise<void> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer in ${longestMs / 1000} s`)), longestMs);
  try {
    await Promise.race([work, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

async function requestOptions(
  access: Access,
  path: string,
  credentialsMs: number,
): ReturnType<Connection["requestOptions"]> {
  const applied: RequestOptions = { headers: {} };
  try {
    // The library types its parameter by an older version of Node's types.
    const applying = access.config.applyToHTTPSOptions(applied as Parameters<KubeConfig["applyToHTTPSOptions"]>[0]);
    await beforeDeadline(applying, credentialsMs);
  } catch (error) {
    const words = messageOf(error).trim() || "the credential plugin failed without a word";
    const outcome = outcomeOr("credentials", error);
    throw new UserError(outcome, `the kubeconfig's credentials cannot be used: ${words}`, { cause: error });
  }
  const headers = { ...applied.headers, ...access.headers } as Record<string, string | string[]>; // given as a record above
  const token = headers["Authorization"];
  if (typeof token === "string") headers["Authorization"] = token.trim(); // of a file with a line end
  return { url: new URL(`${access.server}${path}`), options: { ...applied, headers } };
}
