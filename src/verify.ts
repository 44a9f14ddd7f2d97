/** Verify: store -> snapshot, every byte, against the table of contents. */
import { isOutcome, UserError } from "./base/errors.ts";
import type { Reporter } from "./base/reporter.ts";
import { type CatalogEntry, findSnapshots, listSnapshots, withEntry } from "./catalog.ts";
import type { Manifest } from "./snapshot/toc.ts";
import { ArchivedFileError, type Store } from "./stores/store.ts";

interface Told {
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

export interface Verified {
  readonly fileName: string;
  readonly sizeBytes: number;
  readonly manifest: Manifest;
}

/** Reads the whole snapshot once.
 *  @throws UserError `invalid-snapshot` at the first thing that is wrong. */
export async function verify(store: Store, date: string, told: Told): Promise<Verified> {
  const [entry] = await findSnapshots(store, [date], told.signal);
  if (entry === undefined) throw new Error(`no entry for ${date}`); // one for each date
  return await verifyEntry(store, entry, "verify", told);
}

async function verifyEntry(
  store: Store,
  entry: CatalogEntry,
  task: string,
  { reporter, signal }: Told,
): Promise<Verified> {
  return await withEntry(store, entry, signal, async (snapshot, file) => {
    reporter.started(task, { doing: `reading ${file.fileName}`, expectedBytes: file.sizeBytes });
    await snapshot.verifyAll(signal, (bytes) => reporter.progressBytes(task, bytes));
    reporter.finished(task, `${file.sizeBytes} bytes proved`);
    return { fileName: file.fileName, sizeBytes: file.sizeBytes, manifest: snapshot.manifest };
  });
}

/** A snapshot and what is wrong with it. */
export type Verdict = CatalogEntry & { readonly problem?: UserError };

/** The same for every snapshot of a store, one after the other, newest first. What was removed meanwhile is left out.
 *  @throws UserError `not-found` when there is none; what the store throws when it cannot be listed. */
export async function verifyAll(store: Store, told: Told): Promise<readonly Verdict[]> {
  const entries = await listSnapshots(store, told.signal);
  if (entries.length === 0) throw new UserError("not-found", `there are no snapshots in ${store.location}`);
  const verdicts: Verdict[] = [];
  for (const entry of entries) {
    try {
      await verifyEntry(store, entry, entry.fileName, told);
      verdicts.push(entry);
    } catch (error) {
      told.signal.throwIfAborted();
      if (!(error instanceof UserError)) throw error;
      const isAboutFile = error instanceof ArchivedFileError || isOutcome(error, "invalid-snapshot");
      if (!isAboutFile && !(await isThere(store, entry, told.signal))) {
        told.reporter.note(`${entry.fileName} was removed meanwhile`);
        continue;
      }
      told.reporter.failed(entry.fileName, error);
      verdicts.push({ ...entry, problem: error });
    }
  }
  return verdicts;
}

/** Asked of the listing, which also fails when the store itself does: the other snapshots need not be tried then. */
async function isThere(store: Store, { fileName }: CatalogEntry, signal: AbortSignal): Promise<boolean> {
  return (await listSnapshots(store, signal)).some((each) => each.fileName === fileName);
}
