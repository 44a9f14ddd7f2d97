/** Reads a file of a directory, pinned by its open descriptor: a file that takes its name later is never mixed in. */
import { type BigIntStats, constants } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import type { Bytes } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import { type Directory, diskError, hasCode, onDisk } from "./local-disk.ts";
import { type OpenFile, requireRange, requireSnapshotFileName } from "./store.ts";

const chunkBytes = 256 * 1024;
/** Neither follow a planted link nor wait for the other end of a planted pipe. Windows lacks both flags. */
const readOnly = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/** The contract of `Store.open`, for a directory. */
export async function openLocalFile(directory: Directory, fileName: string, signal: AbortSignal): Promise<OpenFile> {
  requireSnapshotFileName(fileName);
  signal.throwIfAborted();
  const doing = `cannot read "${fileName}" in "${directory.path}"`;
  let handle: FileHandle;
  try {
    handle = await directory.fileSystem.open(join(directory.path, fileName), readOnly);
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new UserError("not-found", `no file "${fileName}" in "${directory.path}"`);
    throw diskError(error, doing);
  }
  try {
    const pinned = await onDisk(doing, () => handle.stat({ bigint: true }));
    if (!pinned.isFile()) throw new UserError("local-disk", `${doing}: it is not a regular file`);
    const file = { fileName, sizeBytes: Number(pinned.size) };
    return {
      ...file,
      read(offset, lengthBytes, readSignal) {
        requireRange(file, offset, lengthBytes);
        return readRange({ handle, pinned, doing }, { offset, lengthBytes, signal: readSignal });
      },
      close: () => letGo(handle),
    };
  } catch (error) {
    await letGo(handle);
    throw error;
  }
}

/** The descriptor is gone even when closing it fails, and that takes nothing back from what was read. */
async function letGo(handle: FileHandle): Promise<void> {
  await handle.close().catch(() => undefined);
}

async function* readRange(
  file: { readonly handle: FileHandle; readonly pinned: BigIntStats; readonly doing: string },
  range: { readonly offset: number; readonly lengthBytes: number; readonly signal: AbortSignal },
): Bytes {
  const { handle, pinned, doing } = file;
  const end = range.offset + range.lengthBytes;
  let position = range.offset;
  while (position < end) {
    range.signal.throwIfAborted();
    // A new buffer each time: the consumer may keep what it was given.
    const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, end - position));
    const at = position;
    const { bytesRead } = await onDisk(doing, () => handle.read(buffer, 0, buffer.byteLength, at));
    if (bytesRead === 0) {
      throw new UserError("local-disk", `${doing}: it ends at ${position} of ${pinned.size} bytes, so it was cut`);
    }
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
  range.signal.throwIfAborted();
  const now = await onDisk(doing, () => handle.stat({ bigint: true }));
  if (now.size !== pinned.size || now.mtimeNs !== pinned.mtimeNs) {
    throw new UserError("local-disk", `${doing}: it was changed while being read`);
  }
}
