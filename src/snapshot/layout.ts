import { invalid } from "./fields.ts";
import { maxEntries, maxHeaderBytes, maxOpenStreams } from "./limits.ts";
import { entryBase, entryPath } from "./path.ts";
import type { InstanceEntry, Manifest, Segment, StreamEntry } from "./toc.ts";

/** One member of the file and the tar entry in it. */
export interface Entry {
  readonly path: string;
  readonly segment: Segment;
  /** What it is a part of, with its place there; absent for the header and for what was discarded. */
  readonly part?: { readonly stream: StreamEntry; readonly index: number };
}

export const headerPath = "header.json";
export const manifestPath = "manifest.json";

/** Entries of one stream, in its order, which is also their order in the file. */
export function entriesOf(instance: InstanceEntry, stream: StreamEntry): Entry[] {
  const base = entryBase(instance.folder, stream);
  return stream.segments.map((segment, index) => ({ path: entryPath(base, index), segment, part: { stream, index } }));
}

/** Everything before the manifest, in the order of the file.
 *  @param endOffset where the manifest begins.
 *  @throws UserError `invalid-snapshot` unless the manifest covers the file from its first byte to there, without gap or
 *    overlap, with the header first and the segments of each stream in their order. */
export function fileOrder(manifest: Manifest, endOffset: number): Entry[] {
  const entries: Entry[] = [
    { path: headerPath, segment: manifest.headerSegment },
    ...manifest.discarded.map((segment) => ({ path: segment.path, segment })),
  ];
  for (const instance of manifest.instances) {
    for (const stream of instance.streams) {
      for (const entry of entriesOf(instance, stream)) entries.push(entry); // a spread overflows the stack when it is long
    }
  }
  entries.sort((a, b) => a.segment.offset - b.segment.offset);
  if (entries.length > maxEntries) throw invalid(manifestPath, `more than ${maxEntries} entries`);
  if (entries[0]?.path !== headerPath) throw invalid(manifestPath, `"${headerPath}" is not the first entry`);
  if (manifest.headerSegment.bytes > maxHeaderBytes) throw invalid(manifestPath, `"${headerPath}" is too large`);
  checkCover(entries, endOffset);
  checkStreams(entries);
  return entries;
}

function checkCover(entries: readonly Entry[], endOffset: number): void {
  let end = 0;
  for (const { path, segment } of entries) {
    if (segment.offset !== end || segment.length === 0) {
      throw invalid(manifestPath, `"${path}" at ${segment.offset} does not follow the entry that ends at ${end}`);
    }
    end += segment.length;
  }
  if (end !== endOffset) throw invalid(manifestPath, `what it lists ends at ${end}, and it begins at ${endOffset}`);
}

function checkStreams(entries: readonly Entry[]): void {
  const open = new Map<StreamEntry, number>();
  for (const { path, part } of entries) {
    if (part === undefined) continue;
    const { stream, index } = part;
    if (index !== (open.get(stream) ?? 0)) throw invalid(manifestPath, `"${path}" is not in the order of its stream`);
    if (index === stream.segments.length - 1) open.delete(stream);
    else open.set(stream, index + 1);
    if (open.size > maxOpenStreams) throw invalid(manifestPath, `more than ${maxOpenStreams} streams lie mixed`);
  }
}
