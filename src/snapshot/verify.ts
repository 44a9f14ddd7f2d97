/** Checks entries of an opened file against its manifest, on the way to whoever wants their content. */
import { digestOf, Meter, sameDigest } from "../base/bytes.ts";
import { expandEntry } from "./entry.ts";
import { invalid } from "./fields.ts";
import { GunzipMeter } from "./gunzip.ts";
import { inOrder } from "./handover.ts";
import { type Entry, manifestPath } from "./layout.ts";
import { readExtents, type SnapshotSource } from "./source.ts";
import { tarEnd } from "./tar.ts";
import type { StreamEntry } from "./toc.ts";

/** Called with the total of the file's bytes that have been found right. */
export type OnProgress = (checkedBytes: number) => void;

/** Where entries are read from. */
export interface EntrySource {
  readonly source: SnapshotSource;
  /** The time in every tar header. */
  readonly modifiedAt: Date;
}

/** Members expanded at once, on zlib's threads. Each costs its size as stored and 8 MiB. */
const expansionsAtOnce = 3;
/** Segments being held against their stream's digests, 8 MiB each. More than one helps where streams are encoded. */
const checksAtOnce = 2;

/** The content of entries, each checked whole before it is given out.
 *  @param entries in the order of the file.
 *  @throws UserError `invalid-snapshot` naming the entry. */
export async function* readEntries(
  from: EntrySource,
  entries: readonly Entry[],
  signal: AbortSignal,
): AsyncGenerator<{ readonly entry: Entry; readonly content: Buffer }, void, void> {
  const extents = entries.map((entry) => entry.segment);
  const members = withEach(readExtents(from.source, extents, signal), entries);
  yield* inOrder(members, expansionsAtOnce, async ([member, entry]) => ({
    entry,
    content: await openEntry(from, entry, member),
  }));
}

/** Reads entries and checks them, and every stream of which they are all the segments.
 *  @throws UserError `invalid-snapshot` naming the entry or stream. */
export async function verifyEntries(
  from: EntrySource,
  entries: readonly Entry[],
  signal: AbortSignal,
  onProgress: OnProgress = () => {},
): Promise<void> {
  const checks = new Map<StreamEntry, StreamCheck>();
  const checked = inOrder(readEntries(from, entries, signal), checksAtOnce, async ({ entry, content }) => {
    if (entry.part !== undefined) await checkPart(checks, entry.part, content);
    return entry;
  });
  let checkedBytes = 0;
  try {
    for await (const { segment } of checked) {
      checkedBytes += segment.length;
      onProgress(checkedBytes);
    }
  } finally {
    await Promise.all(Array.from(checks.values(), (check) => check.abandon()));
  }
}

async function* withEach<A, B>(items: AsyncIterable<A>, partners: readonly B[]): AsyncGenerator<[A, B], void, void> {
  const rest = partners.values();
  for await (const item of items) {
    const partner = rest.next();
    if (!partner.done) yield [item, partner.value];
  }
}

async function openEntry({ modifiedAt }: EntrySource, { path, segment }: Entry, member: Buffer): Promise<Buffer> {
  const place = `"${path}" at ${segment.offset}`;
  if (digestOf(member).sha256 !== segment.sha256) throw invalid(place, "damaged: its SHA-256 differs");
  const frame = { path, contentBytes: segment.bytes, modifiedAt };
  const content = await expandEntry(path === manifestPath ? { ...frame, after: tarEnd } : frame, member);
  if (content === undefined) throw invalid(place, "not the tar entry that the manifest describes");
  return content;
}

async function checkPart(
  checks: Map<StreamEntry, StreamCheck>,
  { stream, index }: { readonly stream: StreamEntry; readonly index: number },
  content: Buffer,
): Promise<void> {
  const check = checks.get(stream) ?? new StreamCheck(stream);
  checks.set(stream, check);
  await check.add(content);
  if (index < stream.segments.length - 1) return;
  await check.finish();
  checks.delete(stream);
}

/** Holds a whole stream against its digests, segment by segment. */
class StreamCheck {
  readonly #stream: StreamEntry;
  readonly #stored = new Meter();
  readonly #plain: GunzipMeter | undefined;
  /** The last call of `add`, for it may be called again before. */
  #added: Promise<void> = Promise.resolve();

  constructor(stream: StreamEntry) {
    this.#stream = stream;
    if (stream.encoding === "gzip") this.#plain = new GunzipMeter(stream.plain.bytes);
  }

  add(content: Buffer): Promise<void> {
    const before = this.#added;
    this.#added = before.then(async () => {
      this.#stored.update(content);
      await this.#gunzipping(this.#plain?.add(content));
    });
    return this.#added;
  }

  async finish(): Promise<void> {
    const { name, stored, plain } = this.#stream;
    if (!sameDigest(this.#stored.digest(), stored)) throw invalid(`stream "${name}"`, "not what was stored");
    const unpacked = await this.#gunzipping(this.#plain?.digest());
    if (unpacked !== undefined && !sameDigest(unpacked, plain))
      throw invalid(`stream "${name}"`, "not what was dumped");
  }

  async abandon(): Promise<void> {
    await this.#plain?.abandon();
  }

  async #gunzipping<T>(step: Promise<T> | undefined): Promise<T | undefined> {
    try {
      return await step;
    } catch (error) {
      throw invalid(`stream "${this.#stream.name}"`, "not the gzip stream that the manifest describes", error);
    }
  }
}
