/** Stores: where snapshots are kept. This folder sees only names and bytes; it knows neither clusters nor the format.
 *  May import `base` and this file. `s3*.ts` are the only files that import the S3 library. */
import type { Bytes } from "../base/bytes.ts";
import { type ErrorFacts, UserError } from "../base/errors.ts";

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
  /** A guess of its size, for how it is cut; absent when nobody knows. Any size can be stored in spite of it. */
  readonly expectedBytes?: number;
  readonly signal: AbortSignal;
  /** Awaited when the whole archive is stored and before it gets its name. What it throws, `save` throws. */
  readonly beforePublish?: () => Promise<void>;
  /** Called with the total of bytes that the store has taken. */
  readonly onProgress?: (storedBytes: number) => void;
}

export interface Store {
  /** For messages: `s3://storage-backup--kaa` or a directory's path. */
  readonly location: string;
  /** Makes sure that `save` can work: creates the bucket or directory when absent, checks that it is ours and writable.
   *  @throws UserError naming the missing right, the foreign owner, or the state of the directory. */
  prepare(signal: AbortSignal): Promise<void>;
  /** Tries what `save` and `list` need, and leaves nothing: neither bucket nor directory is made.
   *  @returns "absent" when there is none yet. @throws as `prepare` does. */
  check(signal: AbortSignal): Promise<"ready" | "absent">;
  /** All or nothing: either the whole archive is stored durably under `fileName`, or it throws and nothing is there.
   *  Never replaces an existing file (UserError `busy`). Proves the stored size and identity before it returns. */
  save(request: SaveRequest): Promise<StoredFile>;
  /** Removes what a dead run has left of this file before it was published: an open upload, a temporary file. Only for a
   *  run that cannot publish it any more. */
  discardUnfinished(fileName: string, signal: AbortSignal): Promise<void>;
  /** In no particular order.  An absent bucket or directory is UserError `not-found`. */
  list(signal: AbortSignal): AsyncIterable<StoredFile>;
  /** @throws UserError `not-found` when there is no such file; ArchivedFileError. The caller must `close()`. */
  open(fileName: string, signal: AbortSignal): Promise<OpenFile>;
  /** @throws UserError `not-found` when there is no such file, `credentials` or `local-disk` when it may not be removed. */
  remove(fileName: string, signal: AbortSignal): Promise<void>;
  /** By how many milliseconds the clock of this machine is ahead of the store's, as of its last answer. Undefined before
   *  that, and for a store that has no clock of its own. */
  clockAheadMs(): number | undefined;
}

/** A file that is there but cannot be read before it has been fetched from an archive. A matter of this file only. */
export class ArchivedFileError extends UserError {
  constructor(message: string, facts: ErrorFacts) {
    super("object-store", message, facts);
  }
}

const snapshotFileName = /^\d{2}-\d{2}-\d{4}-\d{2}-\d{2}-\d{2}(\.partial)?\.tar\.gz$/;

/** True for the names that a store lists, takes and gives. Nothing else in a bucket or directory is ever touched. */
export function isSnapshotFileName(fileName: string): boolean {
  return snapshotFileName.test(fileName);
}

/** Keeps names such as `../x` away from paths and keys. */
export function requireSnapshotFileName(fileName: string): void {
  if (!isSnapshotFileName(fileName)) {
    throw new UserError("usage", `"${fileName}" is not a snapshot's file name: expected DD-MM-YYYY-hh-mm-ss.tar.gz`);
  }
}

/** @throws RangeError when a read would leave the file; callers check offsets from an archive against `sizeBytes`. */
export function requireRange(file: { readonly sizeBytes: number }, offset: number, lengthBytes: number): void {
  const whole = Number.isSafeInteger(offset) && Number.isSafeInteger(lengthBytes);
  if (!whole || offset < 0 || lengthBytes < 0 || offset + lengthBytes > file.sizeBytes) {
    throw new RangeError(`cannot read ${lengthBytes} bytes from ${offset}: the file has ${file.sizeBytes}`);
  }
}

/** How long a source may take to wind up after a signal: it cancels dumps in pods. */
const windUpMs = 2_000;

/** The same bytes until `signal` fires: then it throws the signal's reason, even when the source never answers. The source
 *  is told to release what it holds; it is waited for, after a signal only for a short time. */
export async function* untilAborted(bytes: Bytes, signal: AbortSignal): Bytes {
  const source = bytes[Symbol.asyncIterator]();
  let sourceEnded = false;
  const nextOfSource = async () => {
    try {
      const next = await source.next();
      sourceEnded = next.done === true;
      return next;
    } catch (error) {
      sourceEnded = true;
      throw error;
    }
  };
  try {
    while (true) {
      const next = await orAborted(signal, nextOfSource);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    if (!sourceEnded) {
      const released = Promise.resolve(source.return?.());
      // A generator answers return() only after its pending next(), which may never come.
      if (signal.aborted) await atMost(windUpMs, released);
      else await released;
    }
  }
}

async function atMost(durationMs: number, work: Promise<unknown>): Promise<void> {
  const { promise: timeUp, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, durationMs);
  const settled = work.then(
    () => undefined,
    () => undefined,
  );
  await Promise.race([settled, timeUp]);
  clearTimeout(timer);
}

/** What `start` gives, or the signal's reason when that fires first. */
export function orAborted<T>(signal: AbortSignal, start: () => Promise<T>): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    start()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", stop));
  });
}
