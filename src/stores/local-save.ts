/** Publishes one file in a directory: temporary file, write, fsync, link, fsync of the directory. At every point a power
 *  loss leaves either no file or the whole file under the final name (without hard links: or an empty one). */
import { type BigIntStats, constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../base/errors.ts";
import { type Directory, diskError, freeBytes, hasCode, onDisk, syncDirectory, unlessAbsent } from "./local-disk.ts";
import { temporaryName } from "./local-temporary.ts";
import { requireSnapshotFileName, type SaveRequest, type StoredFile, untilAborted } from "./store.ts";

/** O_NOFOLLOW: a planted symbolic link must not lead us elsewhere. Windows lacks the flag. */
const createOnly = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
/** FAT, exFAT and some network and FUSE file systems have no hard links. EISDIR is Node's word for what Windows says of exFAT
 *  (nodejs/node#65817). */
const noHardLinks = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EXDEV", "EISDIR"];

interface Job {
  readonly directory: Directory;
  readonly request: SaveRequest;
  readonly doing: string;
  readonly temporaryPath: string;
  readonly finalPath: string;
  /** The written file, once it may have the final name. */
  published?: BigIntStats;
  /** The final name may be an empty file of ours. */
  reserved: boolean;
}

/** The contract of `Store.save`, for a directory. */
export async function saveFile(directory: Directory, request: SaveRequest): Promise<StoredFile> {
  const { fileName, runId, signal } = request;
  requireSnapshotFileName(fileName);
  signal.throwIfAborted();
  const { fileSystem, path } = directory;
  const job: Job = {
    directory,
    request,
    doing: `cannot save "${fileName}" in "${path}"`,
    temporaryPath: join(path, temporaryName(fileName, runId)),
    finalPath: join(path, fileName),
    reserved: false,
  };
  if ((await factsOfFinal(job)) !== undefined) throw nameTaken(job);
  const file = await openTemporary(job);
  try {
    const written = await fill(job, file);
    await request.beforePublish?.();
    signal.throwIfAborted();
    await publish(job, written);
    await onDisk(job.doing, () => fileSystem.unlink(job.temporaryPath).catch(unlessAbsent));
    await onDisk(job.doing, () => syncDirectory(directory));
    signal.throwIfAborted();
    return { fileName, sizeBytes: Number(written.size), modifiedAt: written.mtime };
  } catch (error) {
    await leaveNothing(job, error);
    throw error;
  }
}

async function openTemporary(job: Job): Promise<FileHandle> {
  try {
    return await job.directory.fileSystem.open(job.temporaryPath, createOnly, 0o600);
  } catch (error) {
    const failure = diskError(error, job.doing);
    // Over a network it may have been made all the same. One that existed before is not ours.
    if (!hasCode(error, "EEXIST")) await leaveNothing(job, failure);
    throw failure;
  }
}

/** Writes the archive and makes it durable. The handle is closed in every case. */
async function fill(job: Job, file: FileHandle): Promise<BigIntStats> {
  const { archive, signal, onProgress } = job.request;
  let closed = false;
  try {
    // The umask takes bits away from the mode given to open(), so it is set again.
    await onDisk(job.doing, () => file.chmod(0o600));
    let writtenBytes = 0;
    for await (const chunk of untilAborted(archive, signal)) {
      await writeWhole(job, file, chunk, writtenBytes);
      writtenBytes += chunk.byteLength;
      onProgress?.(writtenBytes);
    }
    if (writtenBytes === 0) throw new Error(`${job.doing}: the archive is empty`);
    // A failed fsync is final: the kernel may have dropped the pages, and a second call would say success.
    await onDisk(job.doing, () => file.sync());
    const facts = await onDisk(job.doing, () => file.stat({ bigint: true }));
    if (facts.size !== BigInt(writtenBytes)) {
      const state = `${writtenBytes} bytes were written, but the file has ${facts.size}`;
      throw new UserError("local-disk", `${job.doing}: ${state}`);
    }
    closed = true;
    // Network file systems report delayed write errors here.
    await onDisk(job.doing, () => file.close());
    return facts;
  } finally {
    if (!closed) await file.close().catch(() => undefined);
  }
}

async function writeWhole(job: Job, file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  let done = 0;
  let interruptions = 0;
  while (done < chunk.byteLength) {
    try {
      const { bytesWritten } = await file.write(chunk, done, chunk.byteLength - done, position + done);
      if (bytesWritten === 0) throw Object.assign(new Error("nothing was written"), { code: "EIO" });
      done += bytesWritten;
    } catch (error) {
      if (hasCode(error, "EINTR", "EAGAIN") && ++interruptions <= 10) continue;
      const free = await freeBytes(job.directory);
      const need = `after ${position + done} bytes, at least ${chunk.byteLength - done} more are needed`;
      throw diskError(error, job.doing, ` ${need}${free === undefined ? "" : `, ${free} bytes are free`}`);
    }
  }
}

/** Gives the written file its final name, unless that exists. */
async function publish(job: Job, written: BigIntStats): Promise<void> {
  const { fileSystem } = job.directory;
  try {
    job.published = written;
    await fileSystem.link(job.temporaryPath, job.finalPath);
  } catch (error) {
    if (hasCode(error, ...noHardLinks)) return publishByRename(job);
    // NFS repeats a request whose answer was lost: then "exists" means that the first one was done.
    if (!hasCode(error, "EEXIST")) throw diskError(error, job.doing);
  }
  const found = await factsOfFinal(job);
  if (found === undefined) throw new UserError("local-disk", `${job.doing}: it is gone right after it was published`);
  if (!sameFile(found, written)) throw nameTaken(job);
}

/** Reserves the name with an empty file, because rename() would replace an existing one. An empty file is never listed. */
async function publishByRename(job: Job): Promise<void> {
  const { fileSystem } = job.directory;
  try {
    job.reserved = true;
    const reservation = await fileSystem.open(job.finalPath, createOnly, 0o600);
    await reservation.close();
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw diskError(error, job.doing);
    job.reserved = false;
    throw nameTaken(job);
  }
  await onDisk(job.doing, () => fileSystem.rename(job.temporaryPath, job.finalPath));
}

/** Removes both names as far as they are ours.
 *  @throws UserError `leftovers` when something stays. */
async function leaveNothing(job: Job, cause: unknown): Promise<void> {
  const { fileSystem } = job.directory;
  const left: string[] = [];
  try {
    if (await finalIsOurs(job)) await fileSystem.unlink(job.finalPath);
  } catch (error) {
    if (!hasCode(error, "ENOENT")) left.push(job.finalPath);
  }
  try {
    await fileSystem.unlink(job.temporaryPath);
  } catch (error) {
    // Without a directory there is no file either.
    if (!hasCode(error, "ENOENT", "ENOTDIR")) left.push(job.temporaryPath);
  }
  // Best effort: the failure to report is `cause`.
  await syncDirectory(job.directory).catch(() => undefined);
  if (left.length === 0) return;
  throw new UserError("leftovers", `${messageOf(cause)}; and cannot remove what was written`, {
    cause,
    effect: "no snapshot was saved; earlier snapshots are unchanged",
    hints: left.map((path) => `remove "${path}"`),
  });
}

async function finalIsOurs(job: Job): Promise<boolean> {
  if (job.published === undefined) return false;
  const found = await factsOfFinal(job);
  if (found === undefined) return false;
  return sameFile(found, job.published) || (job.reserved && found.size === 0n);
}

async function factsOfFinal(job: Job): Promise<BigIntStats | undefined> {
  try {
    return await job.directory.fileSystem.lstat(job.finalPath, { bigint: true });
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw diskError(error, job.doing);
  }
}

function sameFile(a: BigIntStats, b: BigIntStats): boolean {
  return a.dev === b.dev && a.ino === b.ino;
}

function nameTaken(job: Job): UserError {
  return new UserError("busy", `${job.doing}: the name is taken`, { effect: "the existing file is unchanged" });
}
