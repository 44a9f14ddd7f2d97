/** Names of files that are still being written, and what becomes of those whose run has died. */
import { hostname } from "node:os";
import { join } from "node:path";
import { type Directory, hasCode, onDisk } from "./local-disk.ts";
import { isSnapshotFileName } from "./store.ts";

const hourMs = 3_600_000;
const sameHostAgeMs = hourMs;
/** In a cluster every run has another host name, so the process cannot be asked: a day without a write has to do. */
const otherHostAgeMs = 24 * hourMs;

const plain = (text: string) => text.replace(/[^A-Za-z0-9.-]/g, "-").slice(0, 64);

/** `.kaa-backup~<process id>~<host>~<run id>~<file name>`: says whose it is, for `removeLeftovers`. */
export function temporaryName(fileName: string, runId: string): string {
  return `.kaa-backup~${process.pid}~${plain(hostname())}~${plain(runId)}~${fileName}`;
}

/** Removes what dead runs have left: temporary files, and empty files that reserved a name (`local-save.ts`). */
export async function removeLeftovers(directory: Directory): Promise<void> {
  const { fileSystem, path } = directory;
  for (const name of await onDisk(`cannot list "${path}"`, () => fileSystem.readdir(path))) {
    const leftover = parseLeftover(name);
    if (leftover === undefined) continue;
    const file = join(path, name);
    try {
      const facts = await fileSystem.lstat(file);
      const idleMs = Date.now() - facts.mtimeMs;
      if (!facts.isFile() || (leftover.mustBeEmpty && facts.size > 0)) continue;
      if (idleMs < (leftover.ownerIsDead ? sameHostAgeMs : otherHostAgeMs)) continue;
      await fileSystem.unlink(file);
      directory.note(`removed "${file}", left behind by a run that did not end`);
    } catch (error) {
      if (hasCode(error, "ENOENT")) continue;
      if (!hasCode(error, "EACCES", "EPERM")) throw error;
      directory.note(`cannot remove "${file}", left behind by a run that did not end: it belongs to another user`);
    }
  }
}

function parseLeftover(name: string): { readonly ownerIsDead: boolean; readonly mustBeEmpty: boolean } | undefined {
  if (isSnapshotFileName(name)) return { ownerIsDead: true, mustBeEmpty: true };
  const found = /^\.kaa-backup~(\d+)~([A-Za-z0-9.-]+)~[A-Za-z0-9.-]*~/.exec(name);
  if (found === null) return undefined;
  const [, processId, host] = found;
  return { ownerIsDead: host === plain(hostname()) && !isAlive(Number(processId)), mustBeEmpty: false };
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return !hasCode(error, "ESRCH");
  }
}
