/** Connects to a cluster as kubectl would: the kubeconfig with its contexts, credential plugins and proxies, kubectl's own
 *  flags over it, or the service account when this program runs in a pod. */
import type { RequestOptions } from "node:https";
import type { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { messageOf, UserError } from "../base/errors.ts";
import { apiPath, type Connection, callApi, isApiStatus } from "./api.ts";
import type { Cluster, Pod } from "./cluster.ts";
import { openForward } from "./forward.ts";
import { holderName, takeLock } from "./lock.ts";
import { list, parsePod, record, text } from "./pods.ts";
import { executeRemote } from "./remote.ts";
import { defaultLiveness, type Liveness } from "./socket.ts";

/** kubectl's flags of the same names. Source: k8s.io/cli-runtime genericclioptions/config_flags.go. */
export interface ConnectOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
  readonly server?: string;
  readonly token?: string;
  readonly certificateAuthority?: string;
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  readonly tlsServerName?: string;
  readonly insecureSkipTlsVerify?: boolean;
  readonly as?: string;
  readonly asGroup?: readonly string[];
  readonly asUid?: string;
  readonly requestTimeoutMs?: number;
  readonly liveness?: Liveness;
  /** Where HTTPS_PROXY and NO_PROXY are looked up. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

const podsPerPage = 500;

/** Reads the configuration; contacts nobody yet.
 *  @throws UserError `usage` for a kubeconfig that cannot be read or has no such context. */
export async function connectCluster(options: ConnectOptions): Promise<Cluster> {
  const { config, contextName } = await loadConfig(options);
  const cluster = config.getCurrentCluster();
  if (cluster === null)
    throw new UserError("usage", "the kubeconfig has no current context", { hints: ["name one: --context NAME"] });
  const connection: Connection = {
    server: cluster.server,
    requestTimeoutMs: options.requestTimeoutMs ?? 0,
    requestOptions: (path) => requestOptions(config, cluster.server, path, options),
  };
  const context = config.getContextObject(config.getCurrentContext());
  return clusterOver(connection, {
    contextName,
    defaultNamespace: options.namespace ?? context?.namespace ?? "default",
    liveness: options.liveness ?? defaultLiveness,
  });
}

function clusterOver(
  connection: Connection,
  facts: { readonly contextName: string; readonly defaultNamespace: string; readonly liveness: Liveness },
): Cluster {
  const get = (path: string, doing: string, signal: AbortSignal) =>
    callApi(connection, { method: "GET", path, doing, signal });
  const checkPod = async (pod: Pod, signal: AbortSignal) => {
    const path = apiPath("api", "v1", "namespaces", pod.namespace, "pods", pod.name);
    const now = parsePod(await get(path, `cannot read pod "${pod.name}"`, signal));
    if (now?.uid === pod.uid) return;
    throw new UserError("storage-not-ready", `pod "${pod.namespace}/${pod.name}" was replaced while we worked with it`);
  };
  return {
    server: connection.server,
    contextName: facts.contextName,
    defaultNamespace: facts.defaultNamespace,
    async version(signal) {
      return text(record(await get("/version", "cannot read the version of the cluster", signal))["gitVersion"]);
    },
    async checkNamespace(namespace, signal) {
      try {
        await get(apiPath("api", "v1", "namespaces", namespace), `cannot read namespace "${namespace}"`, signal);
      } catch (error) {
        if (!isApiStatus(error, 403)) throw error;
        // A Role inside the namespace may not read the namespace itself; listing its pods will tell.
      }
    },
    listPods: (namespace, signal) => listPods(get, namespace, signal),
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
      return stream;
    },
    lock: (namespace, purpose, signal) => takeLock(connection, { namespace, holder: holderName(), purpose, signal }),
  };
}

type Get = (path: string, doing: string, signal: AbortSignal) => Promise<unknown>;

async function listPods(get: Get, namespace: string, signal: AbortSignal): Promise<readonly Pod[]> {
  const pods: Pod[] = [];
  let next = "";
  do {
    const query = new URLSearchParams({ limit: String(podsPerPage), ...(next !== "" && { continue: next }) });
    const path = `${apiPath("api", "v1", "namespaces", namespace, "pods")}?${query}`;
    const page = record(await get(path, `cannot list pods in namespace "${namespace}"`, signal));
    pods.push(...list(page["items"]).flatMap((item) => parsePod(item) ?? []));
    const token = text(record(page["metadata"])["continue"]);
    if (token !== "" && token === next) throw new UserError("cluster", "the server repeats a page of pods for ever");
    next = token;
  } while (next !== "");
  return pods;
}

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

async function loadConfig(options: ConnectOptions): Promise<{ config: KubeConfig; contextName: string }> {
  const { KubeConfig } = await import("@kubernetes/client-node/dist/config.js");
  const config = new KubeConfig();
  try {
    if (options.kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(options.kubeconfig);
    const contextName = options.context ?? config.getCurrentContext();
    applyFlags(config, options);
    return { config, contextName };
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError("usage", `cannot read the kubeconfig: ${messageOf(error)}`, { cause: error });
  }
}

/** Puts kubectl's flags over the chosen context, without changing the file. */
function applyFlags(config: KubeConfig, options: ConnectOptions): void {
  if (options.context !== undefined) {
    if (config.getContextObject(options.context) === null) {
      const names = config.getContexts().map((each) => each.name);
      throw new UserError("usage", `no context "${options.context}" in the kubeconfig`, {
        hints: [`contexts: ${names.join(", ") || "none"}`],
      });
    }
    config.setCurrentContext(options.context);
  }
  const current = config.getContextObject(config.getCurrentContext());
  if (current === null) return;
  const cluster = config.getCluster(options.cluster ?? current.cluster);
  const user = config.getUser(options.user ?? current.user);
  if (cluster === null)
    throw new UserError("usage", `no cluster "${options.cluster ?? current.cluster}" in the kubeconfig`);
  const given = <T>(key: string, value: T | undefined) => (value === undefined ? {} : { [key]: value });
  const proxyUrl = cluster.proxyUrl ?? environmentProxy(options.server ?? cluster.server, options.environment ?? {});
  const name = "kaa-backup";
  config.addCluster({
    ...cluster,
    name,
    ...given("server", options.server),
    ...(options.certificateAuthority !== undefined && { caFile: options.certificateAuthority, caData: "" }),
    ...given("tlsServerName", options.tlsServerName),
    ...given("skipTLSVerify", options.insecureSkipTlsVerify),
    ...given("proxyUrl", proxyUrl),
  });
  config.addUser({
    ...(options.token === undefined ? user : {}),
    name,
    ...given("token", options.token),
    ...(options.clientCertificate !== undefined && { certFile: options.clientCertificate, certData: "" }),
    ...(options.clientKey !== undefined && { keyFile: options.clientKey, keyData: "" }),
    ...given("impersonateUser", options.as),
  });
  config.addContext({ ...current, name, cluster: name, user: name });
  config.setCurrentContext(name);
}

/** HTTPS_PROXY and NO_PROXY as kubectl (Go's http.ProxyFromEnvironment) reads them; client-node reads neither. */
function environmentProxy(
  server: string,
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const proxy = environment["HTTPS_PROXY"] ?? environment["https_proxy"];
  if (proxy === undefined || proxy === "" || !server.startsWith("https:")) return undefined;
  const host = new URL(server).hostname;
  const excluded = (environment["NO_PROXY"] ?? environment["no_proxy"] ?? "").split(",").map((each) => each.trim());
  const isExcluded = excluded.some(
    (each) =>
      each === "*" || (each !== "" && (host === each || host.endsWith(each.startsWith(".") ? each : `.${each}`))),
  );
  return isExcluded || host === "localhost" || host.startsWith("127.") ? undefined : proxy;
}

async function requestOptions(
  config: KubeConfig,
  server: string,
  path: string,
  options: ConnectOptions,
): ReturnType<Connection["requestOptions"]> {
  const applied: RequestOptions = { headers: {} };
  try {
    // The library types its parameter by an older version of Node's types.
    await config.applyToHTTPSOptions(applied as Parameters<KubeConfig["applyToHTTPSOptions"]>[0]);
  } catch (error) {
    throw new UserError("credentials", `the kubeconfig's credentials cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const headers = { ...applied.headers } as Record<string, string | string[]>; // given as a record above
  if (options.asGroup !== undefined) headers["Impersonate-Group"] = [...options.asGroup];
  if (options.asUid !== undefined) headers["Impersonate-Uid"] = options.asUid;
  const url = new URL(`${server.replace(/\/+$/, "")}${path}`);
  return { url, options: { ...applied, headers } };
}
