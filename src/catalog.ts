/** Which snapshots a store holds. */
import { isOutcome, UserError } from "./base/errors.ts";
import { parseSnapshotFileName, parseSnapshotName, type SnapshotFileName } from "./base/snapshot-name.ts";
import { openSnapshot, readContents, type Snapshot } from "./snapshot/reader.ts";
import type { InstanceEntry, Manifest, StreamEntry } from "./snapshot/toc.ts";
import { ArchivedFileError, type OpenFile, type Store, type StoredFile } from "./stores/store.ts";

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

/** How far clocks may be apart. Also what makes a snapshot one of the future: another machine's clock may be a little ahead. */
export const clockToleranceMs = 5 * 60_000;

/** True for a date that no run can have had yet: the clock that gave it, or the one here, is wrong. */
export function isOfFuture({ startedAt }: Pick<CatalogEntry, "startedAt">, now: Date): boolean {
  return startedAt.getTime() > now.getTime() + clockToleranceMs;
}

/** The files of some dates, each complete, else partial. A file's name means that file and no other.
 *  @throws UserError `usage` for text that is no date, `not-found` with the newest dates there are. */
export async function findSnapshots(
  store: Store,
  dates: readonly string[],
  signal: AbortSignal,
): Promise<readonly CatalogEntry[]> {
  const wanted = dates.map(wantedBy);
  const entries = await listSnapshots(store, signal);
  // Once each, however often it was named.
  return [...new Set(wanted.map((each) => findSnapshot(entries, each, store)))];
}

interface WantedSnapshot {
  readonly name: string;
  /** When the file was named. */
  readonly fileName: string | undefined;
}

function findSnapshot(
  entries: readonly CatalogEntry[],
  { name, fileName }: WantedSnapshot,
  { location }: Pick<Store, "location">,
): CatalogEntry {
  const ofDate = entries.filter((each) => each.name === name);
  const entry =
    fileName === undefined
      ? (ofDate.find((each) => !each.partial) ?? ofDate[0])
      : ofDate.find((each) => each.fileName === fileName);
  if (entry !== undefined) return entry;
  const [other] = ofDate;
  const newest = entries.slice(0, 5).map((each) => each.name);
  const there = newest.length === 0 ? "there are none at all" : `the newest: ${newest.join(", ")}`;
  throw new UserError("not-found", `there is no ${fileName ?? `snapshot of ${name}`} in ${location}`, {
    hints: [other === undefined ? there : `there is ${other.fileName}`],
  });
}

/** A date or a file's name, without the ending that all files have; not looked at yet. */
export function withoutEnding(date: string): string {
  return date.replace(/\.tar\.gz$/, "");
}

function wantedBy(date: string): WantedSnapshot {
  const named = parseSnapshotFileName(date);
  if (named !== undefined) return { name: named.name, fileName: date };
  if (parseSnapshotName(date) !== undefined) return { name: date, fileName: undefined };
  throw new UserError("usage", `"${date}" is no date of a snapshot`, {
    hints: ["the form is DD-MM-YYYY-hh-mm-ss, in UTC"],
  });
}

/** Opens the snapshot of a date for the length of `work`.
 *  @throws as `findSnapshots`. */
export async function withSnapshot<T>(
  store: Store,
  date: string,
  signal: AbortSignal,
  work: (snapshot: Snapshot, file: OpenFile) => Promise<T>,
): Promise<T> {
  const [entry] = await findSnapshots(store, [date], signal);
  if (entry === undefined) throw new Error(`no entry for ${date}`); // one for each date
  return await withEntry(store, entry, signal, work);
}

/** The same for one of a listing. */
export async function withEntry<T>(
  store: Store,
  { fileName }: Pick<CatalogEntry, "fileName">,
  signal: AbortSignal,
  work: (snapshot: Snapshot, file: OpenFile) => Promise<T>,
): Promise<T> {
  const file = await store.open(fileName, signal);
  try {
    return await work(await openSnapshot(file, signal), file);
  } finally {
    await file.close();
  }
}

/** A table of contents without the places of the segments, which are nearly all of it: those of a year of snapshots are held
 *  at once. */
export type SnapshotContents = Omit<Manifest, "instances" | "discarded" | "headerSegment"> & {
  readonly instances: readonly InstanceContents[];
};

export type InstanceContents = Omit<InstanceEntry, "streams"> & {
  readonly streams: readonly Omit<StreamEntry, "segments">[];
};

/** A snapshot with what it holds, or why that cannot be read. */
export type Described = CatalogEntry &
  (
    | { readonly manifest: SnapshotContents; readonly problem?: never }
    | { readonly manifest?: never; readonly problem: UserError }
  );

/** Tables of contents read at once. Each costs its size, 256 KiB at least. */
export const readsAtOnce = 8;

/** Reads the end of each file: two requests each in S3. In the order given; what was removed meanwhile is left out.
 *  @throws what the store throws, unless that is about one file. */
export async function describeSnapshots(
  store: Store,
  entries: readonly CatalogEntry[],
  signal: AbortSignal,
): Promise<readonly Described[]> {
  const described: (Described | undefined)[] = [];
  const rest = entries.entries();
  const failed = new AbortController();
  const both = AbortSignal.any([signal, failed.signal]);
  const worker = async () => {
    // An iterator that several workers share gives each entry to one of them.
    for (const [index, entry] of rest) described[index] = await describeSnapshot(store, entry, both);
  };
  try {
    await Promise.all(Array.from({ length: readsAtOnce }, worker));
  } finally {
    failed.abort();
  }
  return described.filter((each) => each !== undefined);
}

/** @returns undefined when it has gone since it was listed. */
async function describeSnapshot(
  store: Store,
  entry: CatalogEntry,
  signal: AbortSignal,
): Promise<Described | undefined> {
  try {
    const file = await store.open(entry.fileName, signal);
    try {
      return { ...entry, manifest: contentsOf(await readContents(file, signal)) };
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isOutcome(error, "not-found")) return undefined;
    if (isOutcome(error, "invalid-snapshot") || error instanceof ArchivedFileError) return { ...entry, problem: error };
    throw error;
  }
}

function contentsOf({ discarded: _places, headerSegment: _place, ...manifest }: Manifest): SnapshotContents {
  const instances = manifest.instances.map(({ streams, ...instance }) => ({
    ...instance,
    streams: streams.map(({ segments: _segments, ...stream }) => stream),
  }));
  return { ...manifest, instances };
}
