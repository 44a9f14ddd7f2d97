/** What use-cases are given when a test runs them without a command line. */
import type { BackupPlan } from "../../src/backup.ts";
import type { Cluster } from "../../src/cluster/cluster.ts";
import type { Scope } from "../../src/storages.ts";
import { silentReporter } from "./reporter.ts";

/** Namespace "kaa" of a cluster, which may lack the calls that are not made. */
export function scopeOf(cluster: Partial<Cluster>, signal: AbortSignal): Scope {
  return {
    cluster: cluster as Cluster,
    namespace: "kaa",
    releasePrefix: "",
    environment: {},
    compression: "auto",
    location: { region: "us-east-1" },
    reporter: silentReporter,
    signal,
  };
}

/** A backup of MariaDB alone, which is tried once. */
export const mariadbPlan = {
  storages: ["mariadb"],
  named: true,
  strict: true,
  compressionLevel: 1,
  tool: { name: "test", version: "0" },
  retry: { attempts: 1, pauseMs: 0, readyMs: 0 },
} as const satisfies BackupPlan;
