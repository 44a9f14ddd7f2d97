/** Who we are and where the API server is, decided as kubectl decides it (k8s.io/client-go/tools/clientcmd): kubectl's flags
 *  beat the kubeconfig, of several files in KUBECONFIG the first that says something wins, and without any of it a pod's
 *  service account counts. The client library is handed the one context that results, and gives credentials and TLS. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, isAbsolute, join } from "node:path";
import type { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import { messageOf, UserError } from "../base/errors.ts";
import { type Fields, list, record, text } from "../base/json.ts";
import { environmentProxy } from "./proxy.ts";

/** kubectl's flags of the same names; an empty text is the same as none. Source: k8s.io/cli-runtime
 *  genericclioptions/config_flags.go. */
export interface AccessOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
  readonly server?: string;
  /** In place of everything the kubeconfig's user has: with a client certificate beside it, the server would go by that. */
  readonly token?: string;
  readonly certificateAuthority?: string;
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  readonly tlsServerName?: string;
  readonly insecureSkipTlsVerify?: boolean;
  readonly as?: string;
  readonly asGroup?: readonly string[];
  readonly asUid?: string;
  /** Where KUBECONFIG, HOME, the proxies and a pod's variables are looked up. */
  readonly environment?: Environment;
  /** Where a pod has its service account. */
  readonly serviceAccountFolder?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export interface Access {
  /** Its current context is the one that was decided on. */
  readonly config: KubeConfig;
  readonly server: string;
  /** "" when no context is named. */
  readonly contextName: string;
  readonly namespace: string;
  /** Whom to act as, instead of the user himself. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** False when nobody checks that the server is the one that is meant. */
  readonly isVerified: boolean;
}

/** One entry of a kubeconfig; paths in it are relative to the file's folder. */
interface Entry {
  readonly fields: Fields;
  readonly folder: string;
}

interface Entries {
  currentContext: string;
  readonly contexts: Map<string, Entry>;
  readonly clusters: Map<string, Entry>;
  readonly users: Map<string, Entry>;
}

const serviceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";
const nothing: Entry = { fields: {}, folder: "" };

/** Contacts nobody.
 *  @throws UserError `usage` for a kubeconfig that cannot be read, or lacks what a flag names. */
export async function readAccess(options: AccessOptions): Promise<Access> {
  const environment = options.environment ?? process.env;
  const entries = await readEntries(options, environment);
  const pod = podAccess(environment, options.serviceAccountFolder ?? serviceAccountFolder);
  const isEmpty = entries.contexts.size + entries.clusters.size === 0;
  const inPod = isEmpty && !options.kubeconfig ? pod : undefined;
  const contextName = options.context || entries.currentContext;
  const context = contextName === "" ? nothing : entryNamed("context", contextName, entries.contexts);
  const cluster = chosen("cluster", options.cluster, text(context.fields["cluster"]), entries.clusters);
  const user = chosen("user", options.user, text(context.fields["user"]), entries.users);
  const clusterEntry = clusterWith(inPod?.cluster ?? cluster, options, environment);
  const { KubeConfig } = await import("@kubernetes/client-node/dist/config.js");
  const { newClusters, newUsers } = await import("@kubernetes/client-node/dist/config_types.js");
  const config = new KubeConfig();
  const name = "kaa-backup";
  config.loadFromOptions({
    clusters: newClusters([{ name, cluster: clusterEntry }]),
    users: newUsers([{ name, user: credentialsOf(inPod?.user ?? user, options, clusterEntry) }]),
    contexts: [{ name, cluster: name, user: name }],
    currentContext: name,
  });
  const namespace = options.namespace || text(context.fields["namespace"]);
  return {
    config,
    server: text(clusterEntry["server"]).replace(/\/+$/, ""),
    contextName: inPod === undefined ? contextName : "the pod's service account",
    namespace: namespace || pod?.namespace || "default",
    headers: impersonation(user.fields, options),
    isVerified: clusterEntry["insecure-skip-tls-verify"] !== true,
  };
}

/** What the kubeconfig names, for completion. */
export async function kubeconfigNames(
  options: Pick<AccessOptions, "kubeconfig" | "environment">,
): Promise<Readonly<Record<"contexts" | "clusters" | "users" | "namespaces", readonly string[]>>> {
  const { contexts, clusters, users } = await readEntries(options, options.environment ?? process.env);
  const namespaces = [...contexts.values()]
    .map(({ fields }) => text(fields["namespace"]))
    .filter((each) => each !== "");
  return {
    contexts: [...contexts.keys()],
    clusters: [...clusters.keys()],
    users: [...users.keys()],
    namespaces: [...new Set(namespaces)],
  };
}

async function readEntries(
  { kubeconfig }: Pick<AccessOptions, "kubeconfig">,
  environment: Environment,
): Promise<Entries> {
  const yaml = await import("yaml"); // refuses documents whose aliases would unfold to too much
  // What it warns of it would print by itself.
  const parse = (content: string): unknown => yaml.parse(content, { logLevel: "error" });
  const entries: Entries = { currentContext: "", contexts: new Map(), clusters: new Map(), users: new Map() };
  if (kubeconfig) mergeInto(entries, kubeconfig, readFile(kubeconfig), parse);
  else {
    const listed = (environment["KUBECONFIG"] ?? "").split(delimiter).filter((each) => each !== "");
    const usual = join(environment["HOME"] || homedir(), ".kube", "config");
    for (const path of new Set(listed.length > 0 ? listed : [usual])) {
      const content = readFileIfThere(path);
      if (content !== undefined) mergeInto(entries, path, content, parse);
    }
  }
  return entries;
}

/** Of those that KUBECONFIG names, some need not exist. */
function readFileIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined; // Node's errors of files have codes
    throw unreadable(path, error);
  }
}

function readFile(path: string, what = "kubeconfig"): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw unreadable(path, error, what);
  }
}

function unreadable(path: string, error: unknown, what = "kubeconfig"): UserError {
  return new UserError("usage", `cannot read the ${what} "${path}": ${messageOf(error)}`, { cause: error });
}

function mergeInto(entries: Entries, path: string, content: string, parse: (content: string) => unknown): void {
  const root = record(parsed(path, content, parse));
  entries.currentContext ||= text(root["current-context"]);
  for (const [kind, key] of [
    ["contexts", "context"],
    ["clusters", "cluster"],
    ["users", "user"],
  ] as const) {
    for (const item of list(root[kind]).map(record)) {
      const name = text(item["name"]);
      const entry = { fields: record(item[key]), folder: dirname(path) };
      if (name !== "" && !entries[kind].has(name)) entries[kind].set(name, entry);
    }
  }
}

function parsed(path: string, content: string, parse: (content: string) => unknown): unknown {
  try {
    return parse(content);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function entryNamed(kind: "context" | "cluster" | "user", name: string, entries: ReadonlyMap<string, Entry>): Entry {
  const found = entries.get(name);
  if (found !== undefined) return found;
  throw new UserError("usage", `no ${kind} "${name}" in the kubeconfig`, {
    hints: [`${kind}s: ${[...entries.keys()].join(", ") || "none"}`],
  });
}

/** A flag's name must be there; that of the context need not, for flags may say the rest. */
function chosen(
  kind: "cluster" | "user",
  flag: string | undefined,
  ofContext: string,
  entries: ReadonlyMap<string, Entry>,
): Entry {
  return flag ? entryNamed(kind, flag, entries) : (entries.get(ofContext) ?? nothing);
}

/** What a pod is given by Kubernetes: undefined elsewhere. */
function podAccess(environment: Environment, folder: string) {
  const [host, port] = [environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]];
  if (!host || !port) return undefined;
  const namespace = environment["POD_NAMESPACE"] || readFileIfThere(join(folder, "namespace"))?.trim();
  const server = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
  return {
    namespace,
    cluster: { fields: { server, "certificate-authority": join(folder, "ca.crt") }, folder },
    user: { fields: { tokenFile: join(folder, "token") }, folder },
  };
}

/** The cluster with flags and proxy over it, as the client library reads it. */
function clusterWith(cluster: Entry, options: AccessOptions, environment: Environment): Fields {
  const fields = absolute(cluster, ["certificate-authority"]);
  const server = options.server || text(fields["server"]);
  const url = URL.parse(server);
  if (server === "") {
    throw new UserError("usage", "nothing says where the Kubernetes API server is", {
      hints: ["name a context of the kubeconfig: --context NAME", "or another kubeconfig: --kubeconfig FILE"],
    });
  }
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new UserError("usage", `"${server}" is no address of an API server`, {
      hints: ["for example https://HOST:6443"],
    });
  // A CA and not checking exclude each other: of kubeconfig and flags, the flag holds.
  if (options.certificateAuthority && options.insecureSkipTlsVerify === true)
    throw new UserError("usage", "--certificate-authority and --insecure-skip-tls-verify exclude each other");
  const isUnchecked =
    !options.certificateAuthority && (options.insecureSkipTlsVerify ?? fields["insecure-skip-tls-verify"] === true);
  const authority = options.certificateAuthority
    ? { "certificate-authority": options.certificateAuthority }
    : one(fields, "certificate-authority-data", "certificate-authority");
  return {
    ...(isUnchecked ? {} : authority),
    server,
    // The library takes plain HTTP only with this.
    "insecure-skip-tls-verify": isUnchecked || url.protocol === "http:",
    // The name belongs to the address: another address, another name.
    "tls-server-name": options.tlsServerName || (options.server ? undefined : fields["tls-server-name"]),
    "proxy-url": text(fields["proxy-url"]) || environmentProxy(server, environment),
    extensions: fields["extensions"],
  };
}

function credentialsOf(user: Entry, options: AccessOptions, cluster: Fields): Fields {
  if (options.token) return { token: options.token, ...clientCertificate({}, options) };
  const fields = absolute(user, ["client-certificate", "client-key", "tokenFile"]);
  const tokenFile = text(fields["tokenFile"]);
  return {
    ...(tokenFile === "" ? { token: fields["token"], "auth-provider": fields["auth-provider"] } : {}),
    ...(tokenFile !== "" && { "auth-provider": { name: "tokenFile", config: { tokenFile } } }),
    ...clientCertificate(fields, options),
    ...(typeof fields["username"] === "string" && { username: fields["username"], password: text(fields["password"]) }),
    ...(fields["exec"] !== undefined && { exec: execPlugin(record(fields["exec"]), user.folder, cluster) }),
  };
}

function clientCertificate(fields: Fields, options: AccessOptions): Fields {
  return {
    ...(options.clientCertificate
      ? { "client-certificate": options.clientCertificate }
      : one(fields, "client-certificate-data", "client-certificate")),
    ...(options.clientKey ? { "client-key": options.clientKey } : one(fields, "client-key-data", "client-key")),
  };
}

/** A credential plugin; it is told what kubectl would tell it, and a relative path of it is one of the kubeconfig's folder.
 *  Source: k8s.io/client-go/plugin/pkg/client/auth/exec. */
function execPlugin(exec: Fields, folder: string, cluster: Fields): Fields {
  const spec = {
    interactive: false,
    ...(exec["provideClusterInfo"] === true && { cluster: clusterInfo(cluster) }),
  };
  const info = { kind: "ExecCredential", apiVersion: exec["apiVersion"], spec };
  const command = text(exec["command"]);
  const isRelative = /[/\\]/.test(command) && !isAbsolute(command);
  return {
    ...exec,
    command: isRelative ? join(folder, command) : command,
    env: [...list(exec["env"]), { name: "KUBERNETES_EXEC_INFO", value: JSON.stringify(info) }],
  };
}

/** Source: k8s.io/client-go/tools/auth/exec, ConfigToExecCluster; tools/clientcmd, clusterExtensionKey. */
function clusterInfo({ "certificate-authority": authority, extensions, ...cluster }: Fields): Fields {
  const own = list(extensions).find((each) => each["name"] === "client.authentication.k8s.io/exec");
  const path = text(authority);
  return {
    ...cluster,
    ...(path !== "" && {
      "certificate-authority-data": Buffer.from(readFile(path, "certificate authority")).toString("base64"),
    }),
    config: own?.["extension"],
  };
}

/** The first of these keys that is set, alone. */
function one(fields: Fields, ...keys: readonly string[]): Fields {
  const key = keys.find((each) => text(fields[each]) !== "");
  return key === undefined ? {} : { [key]: fields[key] };
}

function absolute({ fields, folder }: Entry, keys: readonly string[]): Fields {
  const paths = keys.flatMap((key) => {
    const path = text(fields[key]);
    return path === "" || isAbsolute(path) ? [] : [[key, join(folder, path)] as const];
  });
  return { ...fields, ...Object.fromEntries(paths) };
}

/** @throws UserError `usage` for groups or a UID of nobody. */
function impersonation(user: Fields, options: AccessOptions): Access["headers"] {
  const name = options.as || text(user["as"]);
  const groupsOfUser = Array.isArray(user["as-groups"]) ? user["as-groups"].map(String) : [];
  const groups = options.asGroup?.length ? options.asGroup : groupsOfUser;
  const uid = options.asUid || text(user["as-uid"]);
  if (name === "") {
    if (groups.length === 0 && uid === "") return {};
    throw new UserError("usage", "--as-group and --as-uid need a user: --as NAME");
  }
  const extra = Object.entries(record(user["as-user-extra"])).map(
    ([key, values]) => [`Impersonate-Extra-${encodeURIComponent(key)}`, [values].flat().map(String)] as const,
  );
  return {
    "Impersonate-User": name,
    ...(groups.length > 0 && { "Impersonate-Group": [...groups] }),
    ...(uid !== "" && { "Impersonate-Uid": uid }),
    ...Object.fromEntries(extra),
  };
}
