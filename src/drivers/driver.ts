/** Drivers: one file for each storage. A driver knows how its engine is dumped and restored rightly; it never sees the
 *  archive or the store. May import `cluster/cluster.ts`, `base` and this file, never another driver. */
import type { Bytes, Digest } from "../base/bytes.ts";
import type { JsonValue } from "../base/json.ts";
import type { Cluster, Pod } from "../cluster/cluster.ts";

/** Label sets. Those of one chart (by its name, which is the value of "app.kubernetes.io/name" or "app") are tried in order,
 *  and the first that any pod of the release matches decides; servers of different charts stand side by side. A value that
 *  begins with "*" matches every value that ends so: charts put the release's name in front. */
export type Selectors = readonly Readonly<Record<string, string>>[];

/** One running server of a storage, with all its pods (several when it is replicated). */
export interface Instance {
  readonly storage: string;
  /** Name of the owner of its pods: "kaa-postgresql". Unique within storage and namespace. */
  readonly name: string;
  readonly pods: readonly Pod[];
  /** Set when configuration names the container; else the driver picks. */
  readonly container?: string;
}

/** Where snapshots are kept, for a driver whose engine writes beside them by itself. */
export interface Location {
  /** Absent when snapshots are kept in a directory. */
  readonly bucket?: string;
  readonly region: string;
  /** URL of the S3 service as this program reaches it; absent for AWS itself. Pods may need another one. */
  readonly endpoint?: string;
}

/** What every driver call gets. */
export interface Context {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly location: Location;
  /** Name (start time) of the snapshot that is made or read: "23-11-2026-18-05-09"; "" during `inspect`. */
  readonly snapshotName: string;
  /** Given to `dump`: names of the snapshots that are published here. Whatever this namespace's instance has left outside
   *  the archive for any other name is from a run that died. The lock is held, so no other run of this namespace is alive;
   *  runs of other namespaces that share the bucket may be. */
  readonly publishedNames?: () => Promise<ReadonlySet<string>>;
  /** Values of the driver's `credentialVariables` that the operator has set; they beat what the pod holds. */
  readonly credentials: Readonly<Record<string, string>>;
  /** Whether the pod compresses dumps: `auto` lets the driver decide by what the pod has. */
  readonly compression: "auto" | "pod" | "client";
  readonly signal: AbortSignal;
  /** Tells how many bytes are done, when they do not pass through this program. */
  readonly progress?: (bytes: number) => void;
  /** Something the operator should know that does not stop the work. */
  warn(message: string): void;
}

/** What `inspect` found: proof that a dump (or restore) can begin. */
export interface Inspection {
  readonly serverVersion: string;
  /** Best guess of the bytes a dump will have, for progress; 0 when unknown. */
  readonly estimatedBytes: number;
  /** Databases, buckets or indices, for `storages` and plans. */
  readonly contents: readonly string[];
  readonly warnings: readonly string[];
}

/** Where a dump goes: opens one named stream after the other, or several at once. */
export interface DumpOutput {
  /** Stores one stream to its end. `name`: parts joined by "/", each part made by `pathPart`; unique in the dump.
   *  `finish` is awaited after `bytes` has ended and gives what the source itself counted and hashed.
   *  @throws what `bytes` throws; and `storage-failed` when the source's count differs from what arrived. */
  stream(
    name: string,
    stream: {
      readonly bytes: Bytes;
      readonly encoding: "identity" | "gzip";
      /** True for a format that compresses by itself: it is not compressed again. */
      readonly isCompressed?: boolean;
      readonly finish: () => Promise<{
        readonly plain: Digest;
        readonly stored: Digest;
        readonly by: "pod" | "protocol";
      }>;
    },
  ): Promise<void>;
}

export interface DumpResult {
  /** Counted on the server at dump time and compared after a restore. Keys are units: databases, tables, rows. */
  readonly counts: Readonly<Record<string, number>>;
  readonly warnings: readonly string[];
  /** The driver's own record, given back to `plan` and `restore`. Nothing secret. */
  readonly facts: JsonValue;
}

/** One instance's part of a snapshot, verified before `restore` sees it. */
export interface Backup {
  readonly serverVersion: string;
  readonly counts: Readonly<Record<string, number>>;
  readonly facts: JsonValue;
  readonly streams: readonly BackupStream[];
}

export interface BackupStream {
  readonly name: string;
  readonly encoding: "identity" | "gzip";
  readonly plain: Digest;
  readonly stored: Digest;
  /** As stored (still encoded); every slice is checked again before it is passed on. May be called more than once. */
  read(): Bytes;
}

/** What a restore would do; printed by `--dry-run` and before the question. Each list names databases, users, buckets… */
export interface RestorePlan {
  readonly drops: readonly string[];
  readonly creates: readonly string[];
  readonly keeps: readonly string[];
  readonly warnings: readonly string[];
  /** Reasons why the restore cannot work: newer server, missing extension. Any entry refuses the restore. */
  readonly obstacles: readonly string[];
}

export interface RestoreResult {
  /** The same counts as DumpResult, taken on the target after the restore. Undefined when that was not possible, which a
   *  warning then says. */
  readonly counts: Readonly<Record<string, number>> | undefined;
  readonly warnings: readonly string[];
}

export interface Driver {
  /** The name in the registry, in flags and in the archive. */
  readonly storage: string;
  /** For people: "PostgreSQL". */
  readonly title: string;
  readonly selectors: Selectors;
  /** Pods that the same charts run beside the servers: they are none. */
  readonly helpers?: Selectors;
  /** Which instance a matching pod belongs to, when not its owner decides; undefined: it is none of the servers. */
  instanceOf?(pod: Pod): string | undefined;
  /** False for a storage whose data never passes through this program, so that it cannot be kept in a directory. */
  readonly canUseDirectory: boolean;
  /** Environment variables by which the operator hands over credentials: ["POSTGRES_ROOT_PWD"]. */
  readonly credentialVariables: readonly string[];
  /** Logs in, checks tools, versions and rights; changes nothing.
   *  @throws UserError `credentials`, `storage-not-ready`. */
  inspect(instance: Instance, context: Context): Promise<Inspection>;
  /** Dumps everything the engine holds. On any doubt about completeness it throws. */
  dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult>;
  /** What `restore` would do; changes nothing. */
  plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan>;
  /** Deletes what `dump` has left outside the archive, because the snapshot was not published or is being deleted; only for
   *  drivers that leave something. `facts` are those of the dump, or undefined when it did not end. `context.snapshotName`
   *  says which snapshot. Nothing to delete is no error. */
  discard?(instance: Instance, facts: JsonValue | undefined, context: Context): Promise<void>;
  /** Makes the engine hold exactly what the backup holds, except the target's own administrator passwords. */
  restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult>;
}

/** Makes any text one part of a stream name: every byte outside [A-Za-z0-9._@+-] becomes %XX (so does a leading dot). */
export function pathPart(text: string): string {
  const encoded = Array.from(Buffer.from(text, "utf8"), (byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9._@+-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }).join("");
  return encoded.replace(/^\./, "%2E");
}
