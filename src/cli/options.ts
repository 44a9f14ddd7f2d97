/** The way from parsed flags to a cluster, a store and a scope. */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { UserError } from "../base/errors.ts";
import type { Reporter } from "../base/reporter.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Location } from "../drivers/driver.ts";
import { type DriverName, driverNames, isDriverName, loadDriver } from "../drivers/registry.ts";
import type { Scope } from "../storages.ts";
import type { Store } from "../stores/store.ts";
import { emptyValue } from "./command.ts";
import { configuredCredentials, credentialsInFlags } from "./credentials.ts";
import { parseDurationMs } from "./duration.ts";
import type { ClusterFlags, StorageFlags, StoreFlags } from "./flags.ts";
import type { Io } from "./io.ts";
import type { Session } from "./main.ts";
import { nearest } from "./nearest.ts";

/** What is in front of a namespace's name in that of its bucket. */
const bucketPrefix = "storage-backup--";
/** So much is left of a bucket's 63 characters. */
const longestNamespace = 63 - bucketPrefix.length;

/** @param reporter is told of each request to the API server, and why it is waited for. */
export async function clusterOf(flags: ClusterFlags, io: Io, reporter?: Reporter): Promise<Cluster> {
  const { connectCluster } = await import("../cluster/connect.ts");
  const given = <T>(value: T | undefined, key: string) => (value === undefined ? {} : { [key]: value });
  const timeout = flags["request-timeout"];
  if (flags.namespace !== undefined) checkNamespace(flags.namespace, "--namespace");
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
    ...given(timeout === undefined ? undefined : parseDurationMs(timeout, "--request-timeout"), "requestTimeoutMs"),
    environment: io.env,
    ...given(reporter?.detail, "onRequest"),
    ...given(reporter?.note, "onNote"),
  });
}

/** A name that Kubernetes takes. An empty one is refused, though kubectl takes it for none: a variable that a script has
 *  forgotten to set must not choose what is backed up, or overwritten.
 *  @throws UserError `usage`. */
export function checkNamespace(name: string, flag: string): void {
  if (/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) return;
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name;
  throw new UserError("usage", `${flag}: "${shown}" is no name of a namespace`, {
    hints: ["lower-case letters, digits and dashes, at most 63"],
  });
}

/** Where the snapshots of a namespace are kept. Touches no network.
 *  @throws UserError `usage`. */
export function locationOf(flags: Partial<StoreFlags>, namespace: string, io: Io): Location {
  const service = serviceOf(io);
  const source = flags["source-namespace"];
  if (source !== undefined) checkNamespace(source, "--source-namespace");
  if (flags.local === true) {
    if (flags.bucket !== undefined) throw new UserError("usage", "--local and --bucket exclude each other");
    return service;
  }
  if (flags.dir !== undefined) throw new UserError("usage", "--dir needs --local");
  if (flags.bucket !== undefined) return { ...service, bucket: flags.bucket };
  checkNamespace(namespace, "--namespace");
  if (namespace.length > longestNamespace) {
    throw new UserError("usage", `namespace "${namespace}" is too long to be part of a bucket's name`, {
      hints: ["name a bucket: --bucket NAME"],
    });
  }
  return { ...service, bucket: `${bucketPrefix}${namespace}` };
}

/** Which S3 is meant. */
function serviceOf({ env }: Io): Pick<Location, "region" | "endpoint"> {
  const endpoint = env["AWS_ENDPOINT_URL_S3"] || env["AWS_ENDPOINT_URL"];
  const region = env["AWS_REGION"] || env["AWS_DEFAULT_REGION"] || "us-east-1";
  return { region, ...(endpoint && { endpoint }) };
}

/** Where snapshots are kept when they are kept in a directory. The image sets the variable, for its own file system is no
 *  place for data. */
export function directoryOf(flags: Partial<Pick<StoreFlags, "dir">>, io: Io): string {
  return resolve(flags.dir ?? (io.env["KAA_BACKUP_DIR"] || "backup"));
}

/** The store of a namespace's snapshots. */
export async function storeOf(
  flags: Partial<StoreFlags>,
  namespace: string,
  io: Io,
  reporter: Reporter,
): Promise<Store> {
  const { openStore } = await import("../stores/registry.ts");
  const { bucket, region, endpoint } = locationOf(flags, namespace, io);
  const url = bucket === undefined ? pathToFileURL(`${directoryOf(flags, io)}/`).href : `s3://${bucket}`;
  const note = (message: string) => reporter.note(message);
  return await openStore(url, { region, ...(endpoint !== undefined && { endpoint }), note });
}

/** The stores of all namespaces that the S3 credentials may see, by name. */
export async function storesOfAll(
  io: Io,
  reporter: Reporter,
): Promise<readonly { readonly namespace: string; readonly store: Store }[]> {
  const { listBuckets, openStore } = await import("../stores/registry.ts");
  const note = (message: string) => reporter.note(message);
  const service = serviceOf(io);
  const buckets = await listBuckets(bucketPrefix, { ...service, note }, io.signal);
  return await Promise.all(
    buckets.toSorted().map(async (bucket) => ({
      namespace: bucket.slice(bucketPrefix.length),
      store: await openStore(`s3://${bucket}`, service), // what is to be noted of the service was noted above
    })),
  );
}

/** @throws UserError `usage` for a name that is no storage, with the nearest one, and for an empty one: of two variables that
 *  are not set nothing is left to name, which must not mean all. */
export async function storagesOf(
  flags: StorageFlags,
  local: boolean,
  reporter: Reporter,
): Promise<{ readonly storages: readonly DriverName[]; readonly named: boolean }> {
  const wanted = (flags.storage ?? []).flatMap((each) => each.split(",")).map((each) => each.trim());
  if (wanted.includes("")) throw emptyValue("--storage: the name of a storage");
  if (wanted.length > 0 && flags.all === true) throw new UserError("usage", "--all and --storage exclude each other");
  const names = [...new Set(wanted)].map((name) => {
    if (isDriverName(name)) return name;
    const meant = nearest(name, driverNames);
    const hint = meant === undefined ? `storages: ${driverNames.join(", ")}` : `did you mean ${meant}?`;
    throw new UserError("usage", `there is no storage "${name}"`, { hints: [hint] });
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
  session: Pick<Session, "io" | "config"> & { readonly reporter: Reporter },
  cluster: Cluster,
  flags: StorageFlags & Partial<StoreFlags>,
  options: { readonly compression?: Scope["compression"]; readonly sourceNamespace?: string } = {},
): Promise<Scope> {
  const { io, reporter, config } = session;
  const namespace = cluster.defaultNamespace;
  if (!cluster.isVerified)
    reporter.warning(
      `nobody checks that ${cluster.server} is the right API server: who sits in between can do all we can`,
    );
  const configured = await configuredCredentials(config(), { cluster, namespace, io, reporter });
  const flagged = await credentialsInFlags(flags, io, reporter);
  reporter.detail(`namespace "${namespace}" of context "${cluster.contextName}", ${cluster.server}`);
  for (const name of Object.keys({ ...configured, ...flagged }))
    reporter.detail(`${name} comes from ${name in flagged ? "a flag" : "the configuration file"}`);
  return {
    cluster,
    namespace,
    releasePrefix: flags["release-name-prefix"] ?? "",
    environment: { ...configured, ...withoutEmpty(io.env), ...flagged },
    overrides: config().overrides,
    compression: options.compression ?? "auto",
    location: locationOf(flags, options.sourceNamespace ?? namespace, io),
    reporter,
    signal: io.signal,
  };
}

function withoutEmpty(environment: Io["env"]): Scope["environment"] {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== undefined && value !== ""));
}
