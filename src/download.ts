/** Download: store -> store, and then every byte is proved where it has come to. */
import { isOutcome, messageOf, UserError, withEffect } from "./base/errors.ts";
import type { Reporter } from "./base/reporter.ts";
import { type CatalogEntry, withEntry } from "./catalog.ts";
import type { Manifest } from "./snapshot/toc.ts";
import type { Store } from "./stores/store.ts";

const tidyMs = 10_000;

/** All or nothing: when it cannot be proved, or it is told to stop, nothing stays.
 *  @throws UserError `busy` when the target has a file of that name; it is unchanged. `leftovers` when what cannot be proved
 *    cannot be removed either. */
export async function download(
  entry: CatalogEntry,
  { source, target }: { readonly source: Store; readonly target: Store },
  { reporter, signal }: { readonly reporter: Reporter; readonly signal: AbortSignal },
): Promise<{ readonly sizeBytes: number; readonly manifest: Manifest }> {
  const { fileName } = entry;
  await target.prepare(signal);
  await withEntry(source, entry, signal, async ({ manifest }, file) => {
    reporter.started("download", { doing: `reading ${source.location}/${fileName}`, expectedBytes: file.sizeBytes });
    const onProgress = (bytes: number) => reporter.progressBytes("download", bytes);
    const archive = file.read(0, file.sizeBytes, signal);
    await target.save({ fileName, runId: manifest.runId, archive, signal, onProgress });
    reporter.finished("download", `${file.sizeBytes} bytes in ${target.location}`);
  });
  try {
    return await withEntry(target, entry, signal, async (snapshot, file) => {
      reporter.started("verify", { doing: `reading ${target.location}/${fileName}`, expectedBytes: file.sizeBytes });
      await snapshot.verifyAll(signal, (bytes) => reporter.progressBytes("verify", bytes));
      reporter.finished("verify", "whole and unchanged");
      return { sizeBytes: file.sizeBytes, manifest: snapshot.manifest };
    });
  } catch (error) {
    await removeUnproved(error);
    throw withEffect(error, `nothing was left in ${target.location}`);
  }

  async function removeUnproved(cause: unknown): Promise<void> {
    try {
      await target.remove(fileName, AbortSignal.timeout(tidyMs));
    } catch (error) {
      if (isOutcome(error, "not-found")) return;
      const what = `${messageOf(cause)}; and the copy, which is not proved, could not be removed: ${messageOf(error)}`;
      throw new UserError("leftovers", what, { cause, hints: [`remove ${fileName} from ${target.location}`] });
    }
  }
}
