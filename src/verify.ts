/** Verify: store -> snapshot, every byte, against the table of contents. */
import type { Reporter } from "./base/reporter.ts";
import { withSnapshot } from "./catalog.ts";
import type { Manifest } from "./snapshot/toc.ts";
import type { Store } from "./stores/store.ts";

/** Reads the whole snapshot once.
 *  @throws UserError `invalid-snapshot` at the first thing that is wrong. */
export async function verify(
  store: Store,
  date: string,
  { reporter, signal }: { readonly reporter: Reporter; readonly signal: AbortSignal },
): Promise<{ readonly fileName: string; readonly sizeBytes: number; readonly manifest: Manifest }> {
  return await withSnapshot(store, date, signal, async (snapshot, file) => {
    reporter.started("verify", { doing: `reading ${file.fileName}`, expectedBytes: file.sizeBytes });
    await snapshot.verifyAll(signal, (bytes) => reporter.progressBytes("verify", bytes));
    reporter.finished("verify", `${file.sizeBytes} bytes proved`);
    return { fileName: file.fileName, sizeBytes: file.sizeBytes, manifest: snapshot.manifest };
  });
}
