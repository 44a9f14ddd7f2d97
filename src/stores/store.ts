/** Stores: where snapshots are kept. This folder sees only names and bytes; it knows neither clusters nor the format.
 *  May import `base` and this file. `s3.ts` is the only file that imports the S3 library. */
import type { Bytes } from "../base/bytes.ts";

/** One snapshot file as a listing shows it. */
export interface StoredFile {
  /** The file's name, `DD-MM-YYYY-hh-mm-ss.tar.gz` or `….partial.tar.gz`; names of any other form are never listed. */
  readonly fileName: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
}

/** A stored file opened for reading, pinned: if it is replaced or removed while open, reads fail and never mix. */
export interface OpenFile {
  readonly fileName: string;
  readonly sizeBytes: number;
  /** Streams `lengthBytes` from `offset`. Ends only when all have been delivered; broken connections are resumed.
   *  @throws UserError `object-store` or `local-disk` when the bytes cannot be had, or the pinned file is gone. */
  read(offset: number, lengthBytes: number, signal: AbortSignal): Bytes;
  close(): Promise<void>;
}

export interface SaveRequest {
  readonly fileName: string;
  /** Identifies the run; kept with the file where the store can, so that an unclear ending can be resolved. */
  readonly runId: string;
  /** The archive. If it throws, or `signal` fires, nothing is published and nothing is left behind. */
  readonly archive: Bytes;
  readonly signal: AbortSignal;
  /** Called with the total of bytes that the store has taken. */
  readonly onProgress?: (storedBytes: number) => void;
}

export interface Store {
  /** For messages: `s3://storage-backup--kaa` or a directory's path. */
  readonly location: string;
  /** Makes sure that `save` can work: creates the bucket or directory when absent, checks that it is ours and writable.
   *  @throws UserError naming the missing right, the foreign owner, or the state of the directory. */
  prepare(signal: AbortSignal): Promise<void>;
  /** All or nothing: either the whole archive is stored durably under `fileName`, or it throws and nothing is there.
   *  Never replaces an existing file (UserError `busy`). Proves the stored size and identity before it returns. */
  save(request: SaveRequest): Promise<StoredFile>;
  /** In no particular order.  An absent bucket or directory is UserError `not-found`. */
  list(signal: AbortSignal): AsyncIterable<StoredFile>;
  /** @throws UserError `not-found` when there is no such file. The caller must `close()`. */
  open(fileName: string, signal: AbortSignal): Promise<OpenFile>;
  /** @throws UserError `not-found` when there is no such file. */
  remove(fileName: string, signal: AbortSignal): Promise<void>;
}
