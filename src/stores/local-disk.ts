/** File-system calls of the directory store: the seam through which tests inject faults, and one place that turns their
 *  errors into something an operator can act on. */
import type * as nodeFileSystem from "node:fs/promises";
import { outcomeOr, UserError } from "../base/errors.ts";

/** The calls that the directory store makes; `node:fs/promises` has this shape. */
export type FileSystem = Pick<
  typeof nodeFileSystem,
  "link" | "lstat" | "mkdir" | "open" | "readdir" | "rename" | "stat" | "statfs" | "unlink"
>;

/** A directory that holds snapshots, and the calls that reach it. */
export interface Directory {
  readonly path: string;
  readonly fileSystem: FileSystem;
  readonly note: (message: string) => void;
}

/** True for an error of the operating system with one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  const code = codeOf(error);
  return code !== undefined && codes.includes(code);
}

/** For `catch`: passes over "there is no such file", throws anything else. */
export function unlessAbsent(error: unknown): void {
  if (!hasCode(error, "ENOENT")) throw error;
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" && /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined;
}

const states: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "the file system is read-only",
  ENOSPC: "no space left on the device",
  EDQUOT: "the disk quota is used up",
  EIO: "input/output error of the device",
  ESTALE: "the network file system has lost the file (stale handle)",
  ENOENT: "no such file or directory",
  ENOTDIR: "a part of the path is not a directory",
  ELOOP: "it is a symbolic link, or the path has too many of them",
  ENAMETOOLONG: "the path is too long",
};

/** An error of the operating system as a UserError; anything else comes back unchanged.
 *  @param doing what failed: `cannot write "/backup/x.tar.gz"`. */
export function diskError(error: unknown, doing: string, detail = ""): unknown {
  const code = codeOf(error);
  if (error instanceof UserError || code === undefined) return error;
  return new UserError(outcomeOr("local-disk", error), `${doing}: ${states[code] ?? code}${detail}`, { cause: error });
}

/** Runs one step on the disk; its errors become UserErrors. */
export async function onDisk<T>(doing: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw diskError(error, doing);
  }
}

/** Bytes that an ordinary user may still write there, or undefined when the system does not say. */
export async function freeBytes(directory: Directory): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await directory.fileSystem.statfs(directory.path);
    return bavail * bsize;
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return undefined;
  }
}

/** Makes a change of names in the directory survive a power loss. */
export async function syncDirectory(directory: Directory): Promise<void> {
  // Windows cannot open a directory for that, and journals such changes by itself.
  if (process.platform === "win32") return;
  const handle = await directory.fileSystem.open(directory.path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Some network and FUSE file systems have no fsync for directories. A failing device says EIO, which counts.
    if (!hasCode(error, "EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) throw error;
  } finally {
    await handle.close();
  }
}
