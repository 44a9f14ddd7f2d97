import type { Bytes } from "../base/bytes.ts";
import { invalid } from "./fields.ts";

/** A snapshot file to be read. `OpenFile` of the stores is one. */
export interface SnapshotSource {
  /** Without any folder. */
  readonly fileName: string;
  readonly sizeBytes: number;
  /** Streams `lengthBytes` from `offset`; ends only when all have been delivered. */
  read(offset: number, lengthBytes: number, signal: AbortSignal): Bytes;
}

/** A run of bytes in the file. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

/** Reads extents, which must be in the order of the file, each into one buffer. Those that touch come from one range read,
 *  and nothing between the others is read.
 *  @throws what the source throws, and UserError `invalid-snapshot` if it gives more or less than was asked for. */
export async function* readExtents(
  source: SnapshotSource,
  extents: readonly Extent[],
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  for (const touching of touchingRuns(extents)) {
    const offset = touching[0]?.offset ?? 0;
    const lengthBytes = touching.reduce((sum, extent) => sum + extent.length, 0);
    yield* cut(source.read(offset, lengthBytes, signal), touching, signal);
  }
}

/** Cuts bytes into blocks of the extents' lengths. */
async function* cut(bytes: Bytes, extents: readonly Extent[], signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
  const lengths = extents.values();
  let block = nextBlock(lengths);
  let filledBytes = 0;
  for await (const chunk of bytes) {
    signal.throwIfAborted();
    for (let rest = chunk; rest.byteLength > 0; ) {
      if (block === undefined) throw invalid("the file", "longer than it was");
      const taken = rest.subarray(0, block.byteLength - filledBytes);
      block.set(taken, filledBytes);
      filledBytes += taken.byteLength;
      rest = rest.subarray(taken.byteLength);
      if (filledBytes < block.byteLength) continue;
      yield block;
      block = nextBlock(lengths);
      filledBytes = 0;
    }
  }
  if (block !== undefined) throw invalid("the file", "shorter than it was");
}

function nextBlock(extents: ArrayIterator<Extent>): Buffer | undefined {
  const next = extents.next();
  return next.done ? undefined : Buffer.allocUnsafeSlow(next.value.length);
}

function* touchingRuns(extents: readonly Extent[]): Generator<Extent[], void, void> {
  let run: Extent[] = [];
  let end: number | undefined;
  for (const extent of extents) {
    if (run.length > 0 && extent.offset !== end) {
      yield run;
      run = [];
    }
    run.push(extent);
    end = extent.offset + extent.length;
  }
  if (run.length > 0) yield run;
}
