/** Which snapshots a store holds. */
import { UserError } from "./base/errors.ts";
import { parseSnapshotFileName, parseSnapshotName, type SnapshotFileName } from "./snapshot/name.ts";
import { openSnapshot, type Snapshot } from "./snapshot/reader.ts";
import type { OpenFile, Store, StoredFile } from "./stores/store.ts";

export interface CatalogEntry extends StoredFile, SnapshotFileName {}

/** All snapshots, newest first. Asks the store for names only. */
export async function listSnapshots(store: Store, signal: AbortSignal): Promise<readonly CatalogEntry[]> {
  const entries: CatalogEntry[] = [];
  for await (const file of store.list(signal)) {
    const parsed = parseSnapshotFileName(file.fileName);
    if (parsed !== undefined) entries.push({ ...file, ...parsed });
  }
  return entries.sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime());
}

/** The file of a date: complete, else partial.
 *  @throws UserError `usage` for text that is no date, `not-found` with the newest dates there are. */
export async function findSnapshot(store: Store, date: string, signal: AbortSignal): Promise<CatalogEntry> {
  const name = date.replace(/(\.partial)?\.tar\.gz$/, "");
  if (parseSnapshotName(name) === undefined) {
    throw new UserError("usage", `"${date}" is no date of a snapshot`, {
      hints: ["the form is DD-MM-YYYY-hh-mm-ss, in UTC"],
    });
  }
  const entries = await listSnapshots(store, signal);
  const matching = entries.filter((entry) => entry.name === name);
  const entry = matching.find((each) => !each.partial) ?? matching[0];
  if (entry !== undefined) return entry;
  const newest = entries.slice(0, 5).map((each) => each.name);
  throw new UserError("not-found", `there is no snapshot of ${name} in ${store.location}`, {
    hints: [newest.length === 0 ? "there are none at all" : `the newest: ${newest.join(", ")}`],
  });
}

/** Opens a snapshot for the length of `work`. */
export async function withSnapshot<T>(
  store: Store,
  date: string,
  signal: AbortSignal,
  work: (snapshot: Snapshot, file: OpenFile) => Promise<T>,
): Promise<T> {
  const { fileName } = await findSnapshot(store, date, signal);
  const file = await store.open(fileName, signal);
  try {
    return await work(await openSnapshot(file, signal), file);
  } finally {
    await file.close();
  }
}
