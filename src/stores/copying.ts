/** A store that leaves a copy of what it saves in a second store: one stream for both, nothing is dumped or read twice. */
import type { Bytes } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { SaveRequest, Store, StoredFile } from "./store.ts";

/** Saves to `main` and, by the way, to `copy`; everything else is `main`'s. The copy appears only after `main` has stored
 *  the whole archive. When the copy fails, `main` goes on and `onCopyFailed` is told, once.
 *  Memory: one chunk more than `main` needs; the slower of the two sets the pace. */
export function copyingStore(main: Store, copy: Store, onCopyFailed: (error: unknown) => void): Store {
  let copyIsUsable = true;
  const copyFailed = (error: unknown) => {
    copyIsUsable = false;
    onCopyFailed(error);
  };
  return {
    location: main.location,
    async prepare(signal) {
      await main.prepare(signal);
      try {
        await copy.prepare(signal);
      } catch (error) {
        signal.throwIfAborted();
        copyFailed(error);
      }
    },
    check: (signal) => main.check(signal),
    save: (request) => (copyIsUsable ? saveBoth(main, copy, request, copyFailed) : main.save(request)),
    async discardUnfinished(fileName, signal) {
      await main.discardUnfinished(fileName, signal);
      if (copyIsUsable) await copy.discardUnfinished(fileName, signal);
    },
    list: (signal) => main.list(signal),
    open: (fileName, signal) => main.open(fileName, signal),
    remove: (fileName, signal) => main.remove(fileName, signal),
    clockAheadMs: () => main.clockAheadMs(),
  };
}

async function saveBoth(
  main: Store,
  copy: Store,
  request: SaveRequest,
  copyFailed: (error: unknown) => void,
): Promise<StoredFile> {
  const { fileName, runId, signal } = request;
  // No room on the readable side: a write settles when the copy has asked for the chunk.
  const pipe = new TransformStream<Uint8Array, Uint8Array>(undefined, undefined, { highWaterMark: 0 });
  const writer = pipe.writable.getWriter();
  // A writer that ends with an error says so here as well; `copied` is where it is dealt with.
  writer.closed.catch(() => undefined);
  let mainFailed = false;
  const copied = copy.save({ fileName, runId, archive: pipe.readable, signal }).catch(async (error: unknown) => {
    await writer.abort(error).catch(() => undefined); // frees a write that nobody will take any more
    if (!mainFailed) copyFailed(error);
  });
  try {
    const stored = await main.save({ ...request, archive: passedOn(request.archive, writer) });
    await writer.close().catch(() => undefined); // fails when the copy has: told above
    await copied;
    return stored;
  } catch (error) {
    mainFailed = true;
    await writer.abort(new UserError("storage-failed", "the snapshot was not stored", { cause: error }));
    await copied;
    throw error;
  }
}

/** The same bytes, each chunk handed to `writer` first. A writer that has failed is passed by. */
async function* passedOn(archive: Bytes, writer: WritableStreamDefaultWriter<Uint8Array>): Bytes {
  let isOpen = true;
  for await (const chunk of archive) {
    if (isOpen) {
      isOpen = await writer.write(chunk).then(
        () => true,
        () => false,
      );
    }
    yield chunk;
  }
}
