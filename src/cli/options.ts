/** Flags that several commands share, and the way from parsed flags to a cluster, a store and a scope. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Argv, InferredOptionTypes, Options } from "yargs";
import { collect } from "../base/bytes.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { Reporter } from "../base/reporter.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Location } from "../drivers/driver.ts";
import { type DriverName, driverFlags, driverNames, isDriverName, loadDriver } from "../drivers/registry.ts";
import type { Scope } from "../storages.ts";
import type { Store } from "../stores/store.ts";
import type { Io } from "./io.ts";

/** Length of "storage-backup--" leaves so much of a bucket's 63 characters. */
const longestNamespace = 47;

export const clusterFlags = {
  kubeconfig: { type: "string", describe: "Path to the kubeconfig file" },
  context: { type: "string", describe: "Name of the kubeconfig context" },
  cluster: { type: "string", describe: "Name of the kubeconfig cluster" },
  user: { type: "string", describe: "Name of the kubeconfig user" },
  namespace: { type: "string", alias: "n", describe: "Namespace where Kaa is deployed (default: the context's)" },
  server: { type: "string", alias: "s", describe: "Address of the Kubernetes API server" },
  token: { type: "string", describe: "Bearer token for the API server" },
  as: { type: "string", describe: "User to impersonate" },
  "as-group": { type: "string", array: true, describe: "Group to impersonate (repeatable)" },
  "as-uid": { type: "string", describe: "UID to impersonate" },
  "certificate-authority": { type: "string", describe: "Certificate authority of the API server" },
  "client-certificate": { type: "string", describe: "Client certificate for the API server" },
  "client-key": { type: "string", describe: "Client key for the API server" },
  "tls-server-name": { type: "string", describe: "Name to expect in the API server's certificate" },
  "insecure-skip-tls-verify": { type: "boolean", describe: "Do not check the API server's certificate" },
  "request-timeout": { type: "string", describe: "Longest wait for one API request: 30s, 2m" },
} as const satisfies Record<string, Options>;

export const storeFlags = {
  local: { type: "boolean", describe: "Keep snapshots in a directory instead of S3" },
  dir: { type: "string", describe: "The directory for --local (default: ./backup)" },
  bucket: { type: "string", describe: "The S3 bucket (default: storage-backup--{source namespace})" },
  "source-namespace": { type: "string", describe: "Namespace the snapshot was taken in (default: the namespace)" },
} as const satisfies Record<string, Options>;

export const storageFlags = {
  all: { type: "boolean", describe: "All storages (the default)" },
  storage: { type: "string", array: true, describe: `Only these, comma-separated: ${driverNames.join(", ")}` },
  "release-name-prefix": { type: "string", describe: "Only Helm releases whose name begins so" },
  ...flagsOfDrivers(),
} as const satisfies Record<string, Options>;

function flagsOfDrivers() {
  const options = Object.entries(driverFlags).map(([flag, { describe }]) => [flag, { type: "string", describe }]);
  return Object.fromEntries(options) as Record<keyof typeof driverFlags, { type: "string"; describe: string }>;
}

export const outputFlags = {
  output: {
    type: "string",
    alias: "o",
    choices: ["table", "json", "name"] as const,
    default: "table" as const,
    describe: "Output format",
  },
  quiet: { type: "boolean", alias: "q", describe: "Only warnings and errors on stderr" },
} as const satisfies Record<string, Options>;

export type Flags<T extends Record<string, Options>> = InferredOptionTypes<T>;
export type ClusterFlags = Flags<typeof clusterFlags>;
export type StoreFlags = Flags<typeof storeFlags>;
export type StorageFlags = Flags<typeof storageFlags>;

/** Adds a table of flags under a heading. */
export function withFlags<T, F extends Record<string, Options>>(yargs: Argv<T>, heading: string, flags: F) {
  return yargs.options(flags).group(Object.keys(flags), heading);
}

export async function clusterOf(flags: ClusterFlags, io: Io): Promise<Cluster> {
  const { connectCluster } = await import("../cluster/connect.ts");
  const given = <T>(value: T | undefined, key: string) => (value === undefined ? {} : { [key]: value });
  return await connectCluster({
    ...given(flags.kubeconfig, "kubeconfig"),
    ...given(flags.context, "context"),
    ...given(flags.cluster, "cluster"),
    ...given(flags.user, "user"),
    ...given(flags.namespace, "namespace"),
    ...given(flags.server, "server"),
    ...given(flags.token, "token"),
    ...given(flags.as, "as"),
    ...given(flags["as-group"], "asGroup"),
    ...given(flags["as-uid"], "asUid"),
    ...given(flags["certificate-authority"], "certificateAuthority"),
    ...given(flags["client-certificate"], "clientCertificate"),
    ...given(flags["client-key"], "clientKey"),
    ...given(flags["tls-server-name"], "tlsServerName"),
    ...given(flags["insecure-skip-tls-verify"], "insecureSkipTlsVerify"),
    ...given(parseDuration(flags["request-timeout"]), "requestTimeoutMs"),
    environment: io.env,
  });
}

/** kubectl's form: "30s", "2m", "1h", or seconds; "0" means no limit. */
function parseDuration(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const found = /^(\d+)(ms|s|m|h)?$/.exec(text);
  if (found === null)
    throw new UserError("usage", `"${text}" is no duration`, { hints: ["for example --request-timeout=30s"] });
  const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[found[2] ?? "s"] ?? 1000;
  return Number(found[1]) * unitMs;
}

/** Where the snapshots of a namespace are kept. Touches no network.
 *  @throws UserError `usage`. */
export function locationOf(flags: Partial<StoreFlags>, namespace: string, io: Io): Location {
  const endpoint = io.env["AWS_ENDPOINT_URL_S3"] || io.env["AWS_ENDPOINT_URL"];
  const service = {
    region: io.env["AWS_REGION"] || io.env["AWS_DEFAULT_REGION"] || "us-east-1",
    ...(endpoint && { endpoint }),
  };
  if (flags.local === true) {
    if (flags.bucket !== undefined) throw new UserError("usage", "--local and --bucket exclude each other");
    return service;
  }
  if (flags.dir !== undefined) throw new UserError("usage", "--dir needs --local");
  if (flags.bucket === undefined && namespace.length > longestNamespace) {
    throw new UserError("usage", `namespace "${namespace}" is too long to be part of a bucket's name`, {
      hints: ["name a bucket: --bucket NAME"],
    });
  }
  return { ...service, bucket: flags.bucket ?? `storage-backup--${namespace}` };
}

/** The store of a namespace's snapshots. */
export async function storeOf(flags: StoreFlags, namespace: string, io: Io, reporter: Reporter): Promise<Store> {
  const { openStore } = await import("../stores/registry.ts");
  const { bucket, region, endpoint } = locationOf(flags, namespace, io);
  const url = bucket === undefined ? pathToFileURL(`${resolve(flags.dir ?? "backup")}/`).href : `s3://${bucket}`;
  const note = (message: string) => reporter.note(message);
  return await openStore(url, { region, ...(endpoint !== undefined && { endpoint }), note });
}

/** @throws UserError `usage` for a name that is no storage, with the nearest one. */
export async function storagesOf(
  flags: StorageFlags,
  local: boolean,
  reporter: Reporter,
): Promise<{ readonly storages: readonly DriverName[]; readonly named: boolean }> {
  const wanted = (flags.storage ?? [])
    .flatMap((each) => each.split(","))
    .map((each) => each.trim())
    .filter((each) => each !== "");
  if (wanted.length > 0 && flags.all === true) throw new UserError("usage", "--all and --storage exclude each other");
  const names = [...new Set(wanted)].map((name) => {
    if (isDriverName(name)) return name;
    throw new UserError("usage", `there is no storage "${name}"`, { hints: [`storages: ${driverNames.join(", ")}`] });
  });
  const chosen = names.length > 0 ? names : driverNames;
  if (!local) return { storages: chosen, named: names.length > 0 };
  const kept: DriverName[] = [];
  for (const name of chosen) {
    const driver = await loadDriver(name);
    if (driver.canUseDirectory) kept.push(name);
    else if (names.length > 0)
      throw new UserError("usage", `${driver.title} cannot be kept in a directory, only in S3`);
    else reporter.note(`${driver.title} is left out: it cannot be kept in a directory`);
  }
  return { storages: kept, named: names.length > 0 };
}

/** What the use-cases are told. `sourceNamespace`: whose snapshots are meant, when it is another. */
export async function scopeOf(
  session: { readonly io: Io; readonly reporter: Reporter },
  cluster: Cluster,
  flags: StorageFlags & Partial<StoreFlags>,
  options: { readonly compression?: Scope["compression"]; readonly sourceNamespace?: string } = {},
): Promise<Scope> {
  const { io, reporter } = session;
  const namespace = cluster.defaultNamespace;
  return {
    cluster,
    namespace,
    releasePrefix: flags["release-name-prefix"] ?? "",
    environment: await environmentOf(flags, io),
    compression: options.compression ?? "auto",
    location: locationOf(flags, options.sourceNamespace ?? namespace, io),
    reporter,
    signal: io.signal,
  };
}

const longestSecretBytes = 64 * 1024;

/** The environment, with what the drivers' own flags say over it. */
async function environmentOf(flags: StorageFlags, io: Io): Promise<Scope["environment"]> {
  const environment = { ...io.env };
  for (const [flag, { variable, kind }] of Object.entries(driverFlags)) {
    const value = flags[flag as keyof typeof driverFlags]; // a key of the table itself
    if (value === undefined) continue;
    environment[variable] = kind === "text" ? value : await contentOf(value, flag, io);
  }
  return environment;
}

async function contentOf(path: string, flag: string, io: Io): Promise<string> {
  try {
    // A stream of bytes: nobody has set an encoding on standard input.
    const input = io.stdin as AsyncIterable<Uint8Array>;
    const content = path === "-" ? await collect(input, longestSecretBytes) : await readFile(path);
    return content.toString("utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new UserError("usage", `cannot read what --${flag} names: ${messageOf(error)}`, { cause: error });
  }
}
