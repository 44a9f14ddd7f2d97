/** Names of files that are still being written, and what becomes of those whose run has died. */
import { hostname } from "node:os";
import { join } from "node:path";
import { type Directory, hasCode, onDisk, unlessAbsent } from "./local-disk.ts";
import { isSnapshotFileName } from "./store.ts";

const hourMs = 3_600_000;
const sameHostAgeMs = hourMs;
/** In a cluster every run has another host name, so the process cannot be asked: a day without a write has to do. */
const otherHostAgeMs = 24 * hourMs;

/** In place of a snapshot's name: a file that is written and removed to see whether that works. */
export const probeName = "probe";

const plain = (text: string) => text.replace(/[^A-Za-z0-9.-]/g, "-").slice(0, 64);

/** `.kaa-backup~<process id>~<host>~<run id>~<file name>`: says whose it is, for `removeLeftovers`. */
export function temporaryName(fileName: string, runId: string): string {
  return `.kaa-backup~${process.pid}~${plain(hostname())}~${plain(runId)}~${fileName}`;
}

/** Removes what a dead run has left of one file. */
export async function removeUnfinished(
  { fileSystem, path, note }: Directory,
  fileName: string,
  signal: AbortSignal,
): Promise<void> {
  for (const name of await onDisk(`cannot list "${path}"`, () => fileSystem.readdir(path))) {
    signal.throwIfAborted();
    if (parseLeftover(name) === undefined || !name.endsWith(`~${fileName}`)) continue;
    const file = join(path, name);
    await onDisk(`cannot remove "${file}"`, () => fileSystem.unlink(file).catch(unlessAbsent));
    note(`removed "${file}", left behind by a run that did not end`);
  }
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
      if (idleMs < patienceMs(leftover)) continue;
      await fileSystem.unlink(file);
      directory.note(`removed "${file}", left behind by a run that did not end`);
    } catch (error) {
      if (hasCode(error, "ENOENT")) continue;
      if (!hasCode(error, "EACCES", "EPERM")) throw error;
      directory.note(`cannot remove "${file}", left behind by a run that did not end: it belongs to another user`);
    }
  }
}

interface Leftover {
  readonly ownerIsDead: boolean;
  readonly mustBeEmpty: boolean;
  readonly isProbe: boolean;
}

function parseLeftover(name: string): Leftover | undefined {
  if (isSnapshotFileName(name)) return { ownerIsDead: true, mustBeEmpty: true, isProbe: false };
  const found = /^\.kaa-backup~(\d+)~([A-Za-z0-9.-]+)~[A-Za-z0-9.-]*~(.*)$/.exec(name);
  if (found === null) return undefined;
  const [, processId, host, fileName] = found;
  const ownerIsDead = host === plain(hostname()) && !isAlive(Number(processId));
  return { ownerIsDead, mustBeEmpty: false, isProbe: fileName === probeName };
}

/** A process that seems dead may live in another container of the same name: that costs a probe nothing, but a file much. */
function patienceMs({ ownerIsDead, isProbe }: Leftover): number {
  if (!ownerIsDead) return otherHostAgeMs;
  return isProbe ? 0 : sameHostAgeMs;
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return !hasCode(error, "ESRCH");
  }
}
