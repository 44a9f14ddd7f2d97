/** One tar entry alone in one gzip member: the brick of the file. */
import { compressMember, expandMember, type Member } from "./gzip.ts";
import { tarHead, tarPadding } from "./tar.ts";

/** What fixes the bytes around an entry's content. */
export interface EntryFrame {
  readonly path: string;
  readonly contentBytes: number;
  readonly modifiedAt: Date;
  /** What follows the entry in the same member: the end of the tar, behind the manifest. */
  readonly after?: Uint8Array;
}

/** Compresses an entry on zlib's threads; `content` must not change meanwhile. */
export function compressEntry(frame: EntryFrame, content: Uint8Array, level: number): Promise<Member> {
  return compressMember([headOf(frame), content, tailOf(frame)], level);
}

/** The content of an entry, or undefined when the member is not exactly what `compressEntry` makes of this frame and some
 *  content: another path, size, type or time, padding that is not zero, anything in front or behind. */
export async function expandEntry(frame: EntryFrame, member: Buffer): Promise<Buffer | undefined> {
  const head = headOf(frame);
  const tail = tailOf(frame);
  const whole = await expandMember(member, head.byteLength + frame.contentBytes + tail.byteLength);
  if (whole === undefined) return undefined;
  const contentEnd = head.byteLength + frame.contentBytes;
  const isFramed = whole.subarray(0, head.byteLength).equals(head) && whole.subarray(contentEnd).equals(tail);
  return isFramed ? whole.subarray(head.byteLength, contentEnd) : undefined;
}

function headOf({ path, contentBytes, modifiedAt }: EntryFrame): Buffer {
  return tarHead({ path, sizeBytes: contentBytes, modifiedAt });
}

function tailOf({ contentBytes, after }: EntryFrame): Buffer {
  const padding = tarPadding(contentBytes);
  return after === undefined ? padding : Buffer.concat([padding, after]);
}
