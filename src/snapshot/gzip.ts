/** Gzip members: the one way we write them and the bounded way we read them. Source: RFC 1952. */
import { promisify } from "node:util";
import zlib from "node:zlib";
import type { Digest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";

const gzipAsync = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gzip);
const gunzipAsync = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gunzip);

/** One whole member; runs on zlib's own threads. Level 0 stores. */
export function compressMember(content: Buffer, level: number): Promise<Buffer> {
  return gzipAsync(content, { level, memLevel: 9 });
}

/** The content of one member that must be exactly `expectedBytes` long.
 *  @throws UserError `invalid-snapshot`; never inflates more than expected. */
export async function expandMember(member: Buffer, expectedBytes: number, what: string): Promise<Buffer> {
  const content = await expandAtMost(member, expectedBytes, what);
  if (content.byteLength !== expectedBytes) throw new UserError("invalid-snapshot", `${what}: wrong size inside`);
  return content;
}

/** The content of one member of unknown size, up to a ceiling.
 *  @throws UserError `invalid-snapshot`. */
export async function expandAtMost(member: Buffer, limitBytes: number, what: string): Promise<Buffer> {
  try {
    return await gunzipAsync(member, { maxOutputLength: Math.max(limitBytes, 1) });
  } catch (error) {
    throw new UserError("invalid-snapshot", `${what}: cannot be decompressed`, { cause: error });
  }
}

/** Where the manifest's member lies. */
export interface Footer {
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

export const footerBytes = 74;

/** An empty gzip member whose extra field "KB" points at the manifest. There is exactly one encoding, so a reader encodes
 *  again and compares. */
export function encodeFooter(footer: Footer): Buffer {
  const member = Buffer.alloc(footerBytes);
  member.set([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255], 0); // deflate, FEXTRA, no time, unknown system
  member.writeUInt16LE(52, 10); // extra field: one subfield
  member.write("KB", 12, "latin1");
  member.writeUInt16LE(48, 14);
  member.writeBigUInt64LE(BigInt(footer.offset), 16);
  member.writeBigUInt64LE(BigInt(footer.length), 24);
  member.write(footer.sha256, 32, "hex");
  member.set([3, 0], 64); // an empty final block; CRC-32 and size are zero
  return member;
}

/** @throws UserError `invalid-snapshot` for anything but bytes that `encodeFooter` makes. */
export function decodeFooter(member: Buffer): Footer {
  if (member.byteLength === footerBytes) {
    const offset = Number(member.readBigUInt64LE(16));
    const length = Number(member.readBigUInt64LE(24));
    const footer = { offset, length, sha256: member.toString("hex", 32, 64) };
    if (Number.isSafeInteger(offset + length) && encodeFooter(footer).equals(member)) return footer;
  }
  throw new UserError(
    "invalid-snapshot",
    "the file does not end as a snapshot ends: it is cut, damaged or no snapshot",
  );
}

/** Counts and hashes what a gzip stream holds, never more than `limitBytes` of it.  */
export async function digestOfGzip(
  chunks: AsyncIterable<Uint8Array>,
  meter: { update(chunk: Uint8Array): void; readonly bytes: number; digest(): Digest },
  limitBytes: number,
): Promise<Digest> {
  const gunzip = zlib.createGunzip();
  const feeding = (async () => {
    for await (const chunk of chunks) {
      if (!gunzip.write(chunk)) await new Promise((resolve) => gunzip.once("drain", resolve));
    }
    gunzip.end();
  })();
  feeding.catch((error) => gunzip.destroy(error));
  for await (const chunk of gunzip as AsyncIterable<Buffer>) {
    meter.update(chunk);
    if (meter.bytes > limitBytes) throw new UserError("invalid-snapshot", "a stream holds more than it declares");
  }
  await feeding;
  return meter.digest();
}
