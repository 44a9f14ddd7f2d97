/** A directory as a store. Files are 0600 and appear only whole; what is being written has a name that starts with a dot. */
import { type BigIntStats, constants } from "node:fs";
import * as nodeFileSystem from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import {
  type Directory,
  diskError,
  type FileSystem,
  hasCode,
  onDisk,
  syncDirectory,
  unlessAbsent,
} from "./local-disk.ts";
import { openLocalFile } from "./local-read.ts";
import { saveFile } from "./local-save.ts";
import { probeName, removeLeftovers, removeUnfinished, temporaryName } from "./local-temporary.ts";
import { isSnapshotFileName, requireSnapshotFileName, type Store, type StoredFile } from "./store.ts";

export interface DirectoryStoreOptions {
  /** Told what the operator should know: removed leftovers, a directory that anybody may write to. */
  readonly note?: (message: string) => void;
  /** `node:fs/promises`, unless a test puts a faulty disk in its place. */
  readonly fileSystem?: FileSystem;
}

/** @param path of the directory; `prepare` makes it when it is absent. */
export function directoryStore(path: string, options: DirectoryStoreOptions = {}): Store {
  const directory: Directory = {
    path,
    fileSystem: options.fileSystem ?? nodeFileSystem,
    note: options.note ?? (() => undefined),
  };
  return {
    location: path,
    prepare: (signal) => prepare(directory, signal),
    check: (signal) => check(directory, signal),
    save: (request) => saveFile(directory, request),
    discardUnfinished: (fileName, signal) => removeUnfinished(directory, fileName, signal),
    list: (signal) => list(directory, signal),
    open: (fileName, signal) => openLocalFile(directory, fileName, signal),
    remove: (fileName, signal) => remove(directory, fileName, signal),
    clockAheadMs: () => undefined,
  };
}

async function prepare(directory: Directory, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { fileSystem, path } = directory;
  await onDisk(`cannot create the directory "${path}"`, async () => {
    try {
      await fileSystem.mkdir(path, { recursive: true, mode: 0o700 });
    } catch (error) {
      if (!hasCode(error, "EEXIST")) throw error;
    }
  });
  const facts = await onDisk(`cannot use the directory "${path}"`, () => fileSystem.stat(path));
  requireDirectory(facts, path);
  const anybodyMayWrite = process.platform !== "win32" && (facts.mode & 0o002) !== 0;
  if (anybodyMayWrite) directory.note(`every user of this machine may write to "${path}" (chmod o-w would end that)`);
  await onDisk(`cannot clean the directory "${path}"`, () => removeLeftovers(directory));
  await probe(directory);
}

async function check(directory: Directory, signal: AbortSignal): Promise<"ready" | "absent"> {
  signal.throwIfAborted();
  const { fileSystem, path } = directory;
  try {
    requireDirectory(await fileSystem.stat(path), path);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return "absent";
    throw error instanceof UserError ? error : diskError(error, `cannot use the directory "${path}"`);
  }
  await probe(directory);
  return "ready";
}

function requireDirectory(facts: { isDirectory(): boolean }, path: string): void {
  if (!facts.isDirectory()) throw new UserError("local-disk", `cannot use "${path}": it is not a directory`);
}

/** Writes and removes a file: access(2) knows neither root squashing nor a full or failing disk. */
async function probe(directory: Directory): Promise<void> {
  const { fileSystem, path } = directory;
  const file = join(path, temporaryName(probeName, crypto.randomUUID()));
  const createOnly = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  await onDisk(`cannot write to the directory "${path}"`, async () => {
    const handle = await fileSystem.open(file, createOnly, 0o600);
    try {
      await handle.write(Buffer.from("probe"), 0, 5, 0);
      await handle.sync();
    } finally {
      await handle.close().catch(() => undefined);
      // Another run may take it for one of a dead run. One that stays is named.
      await onDisk(`cannot remove "${file}"`, () => fileSystem.unlink(file).catch(unlessAbsent));
    }
  });
}

async function* list(directory: Directory, signal: AbortSignal): AsyncGenerator<StoredFile> {
  const { fileSystem, path } = directory;
  for (const fileName of await readDirectory(directory)) {
    signal.throwIfAborted();
    if (!isSnapshotFileName(fileName)) continue;
    const facts = await factsOf(directory, fileName);
    // An empty file is the reservation of a name (local-save.ts), never a snapshot.
    if (facts === undefined || !facts.isFile() || facts.size === 0n) continue;
    yield { fileName, sizeBytes: Number(facts.size), modifiedAt: facts.mtime };
  }

  async function readDirectory({ path: directoryPath }: Directory): Promise<string[]> {
    try {
      return await fileSystem.readdir(directoryPath);
    } catch (error) {
      if (hasCode(error, "ENOENT")) {
        const hints = ["is that the right path? The first snapshot makes it"];
        throw new UserError("not-found", `no directory "${path}"`, { cause: error, hints });
      }
      throw diskError(error, `cannot list "${path}"`);
    }
  }
}

async function remove(directory: Directory, fileName: string, signal: AbortSignal): Promise<void> {
  requireSnapshotFileName(fileName);
  signal.throwIfAborted();
  try {
    await directory.fileSystem.unlink(join(directory.path, fileName));
    await syncDirectory(directory);
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new UserError("not-found", `no file "${fileName}" in "${directory.path}"`);
    throw diskError(error, `cannot remove "${fileName}" from "${directory.path}"`);
  }
}

async function factsOf(directory: Directory, fileName: string): Promise<BigIntStats | undefined> {
  try {
    return await directory.fileSystem.lstat(join(directory.path, fileName), { bigint: true });
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw diskError(error, `cannot look at "${fileName}" in "${directory.path}"`);
  }
}
