/** Flags that several commands share. */
import { driverFlags, driverNames } from "../drivers/registry.ts";
import type { Flags, FlagTable } from "./command.ts";
import { outputFormats } from "./output.ts";

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
  "request-timeout": {
    type: "string",
    describe: "Longest wait for one API request: 30s, 1m30s, 0 for no limit (default: 30s)",
  },
} as const satisfies FlagTable;

export const storeFlags = {
  local: { type: "boolean", describe: "Snapshots are kept in a directory instead of S3" },
  dir: { type: "string", describe: "The directory for --local (default: $KAA_BACKUP_DIR, else ./backup)" },
  bucket: { type: "string", describe: "The S3 bucket (default: storage-backup--{namespace})" },
  "source-namespace": {
    type: "string",
    describe: "Namespace that the snapshot was taken in, whose bucket is meant (default: --namespace)",
  },
} as const satisfies FlagTable;

export const storageFlags = {
  all: { type: "boolean", describe: "All storages (the default)" },
  storage: { type: "string", array: true, describe: `Only these, comma-separated: ${driverNames.join(", ")}` },
  "release-name-prefix": { type: "string", describe: "Only what belongs to Helm releases whose names begin with this" },
  ...flagsOfDrivers(),
} as const satisfies FlagTable;

function flagsOfDrivers() {
  const options = Object.entries(driverFlags).map(([flag, { describe }]) => [flag, { type: "string", describe }]);
  return Object.fromEntries(options) as Record<keyof typeof driverFlags, { type: "string"; describe: string }>;
}

export const outputFlags = {
  output: { type: "string", alias: "o", default: "table", describe: `One of ${outputFormats.join(", ")}` },
  quiet: { type: "boolean", alias: "q", describe: "Only warnings and errors on stderr" },
  verbose: { type: "boolean", alias: "v", describe: "Also what was decided: pods, credentials' sources, API requests" },
  color: { choices: ["auto", "always", "never"] as const, default: "auto" as const, describe: "Colours on stderr" },
  "log-format": {
    choices: ["text", "json"] as const,
    default: "text" as const,
    describe: "Progress, warnings and errors as text, or a JSON object a line",
  },
} as const satisfies FlagTable;

/** Flags of every command. */
export const generalFlags = {
  config: {
    type: "string",
    describe: "Configuration file (default: ~/.config/kaa-backup/kaa-backup.yaml, if it is there)",
  },
  help: { type: "boolean", alias: "h", describe: "Show help" },
  version: { type: "boolean", describe: "Show the version" },
} as const satisfies FlagTable;

/** For examples. */
export const someStorages = driverNames.slice(0, 2).join(",");

export type ClusterFlags = Flags<typeof clusterFlags>;
export type StoreFlags = Flags<typeof storeFlags>;
export type StorageFlags = Flags<typeof storageFlags>;

/** How a command may end that runs tools in pods. */
export const podOutcomes = [
  "not-found",
  "cluster",
  "forbidden",
  "storage-not-ready",
  "storage-failed",
  "stream-lost",
] as const;
