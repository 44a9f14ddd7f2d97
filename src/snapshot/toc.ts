/** Snapshot: named byte streams <-> one tar.gz. FORMAT.md specifies the bytes; this file types its table of contents.
 *  This folder may import `base` only: it can be tested with byte arrays and used without a cluster. */
import type { Digest } from "../base/bytes.ts";
import type { JsonValue } from "../base/json.ts";

/** How a stream's bytes stand in the archive; `gzip` when the pod compressed them. */
export type Encoding = "identity" | "gzip";

/** `header.json`, the first entry: what the run set out to do. */
export interface Header {
  readonly formatVersion: 1;
  /** UUID of the run. */
  readonly runId: string;
  /** `DD-MM-YYYY-hh-mm-ss`, UTC, the start of the run; equals the file's name without its ending. */
  readonly name: string;
  readonly namespace: string;
  readonly release: string;
  readonly tool: { readonly name: string; readonly version: string };
}

/** One gzip member holding one tar entry. */
export interface Segment {
  /** Where the gzip member begins in the file, and how long it is, in bytes. */
  readonly offset: number;
  readonly length: number;
  /** SHA-256 of the gzip member as stored. */
  readonly sha256: string;
  /** Size of the tar entry's content: the slice of the stream. */
  readonly bytes: number;
}

/** One named run of bytes that a driver dumped. */
export interface StreamEntry {
  /** Path inside the instance's folder, no leading slash, each part [A-Za-z0-9._%=@+-]: "databases/app.dump". */
  readonly name: string;
  readonly encoding: Encoding;
  /** Before encoding. */
  readonly plain: Digest;
  /** As stored, the concatenation of all segments' contents. Equals `plain` for `identity`. */
  readonly stored: Digest;
  /** What the source itself computed of `stored`; "pod" when a witness ran there, "protocol" when the protocol proves
   *  length and integrity (an HTTP body with its own checksum). */
  readonly witness: { readonly by: "pod" | "protocol"; readonly bytes: number; readonly sha256: string };
  readonly segments: readonly Segment[];
}

/** What one instance of one storage gave. `facts` are the driver's own record and are opaque here. */
export interface InstanceEntry {
  readonly storage: string;
  readonly instance: string;
  /** Folder of its streams in the archive: "postgresql/kaa-postgresql", with "~2" after a retry. */
  readonly folder: string;
  readonly serverVersion: string;
  readonly startedAt: string;
  readonly finishedAt: string;
  /** Counted at dump time, compared after a restore: {"rows": 12, "databases": 3}. */
  readonly counts: Readonly<Record<string, number>>;
  /** For people: "not point-in-time: standalone server". */
  readonly warnings: readonly string[];
  readonly facts: JsonValue;
  readonly streams: readonly StreamEntry[];
}

/** `manifest.json`, the last entry: the closed list of everything in the file. */
export interface Manifest extends Header {
  readonly startedAt: string;
  readonly finishedAt: string;
  readonly clusterVersion: string;
  /** False in a partial snapshot. */
  readonly complete: boolean;
  readonly instances: readonly InstanceEntry[];
  /** Storages that were asked for and failed; empty in a complete snapshot. */
  readonly failures: readonly { readonly storage: string; readonly instance: string; readonly reason: string }[];
  /** The member that holds header.json. */
  readonly headerSegment: Segment;
  /** Segments of attempts that failed and were retried: in the file, but no part of the snapshot. */
  readonly discarded: readonly (Segment & { readonly path: string })[];
  /** Features a reader must know to read this file. Version 1 defines none. */
  readonly requires: readonly string[];
}
