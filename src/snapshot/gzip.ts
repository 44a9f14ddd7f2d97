/** Gzip members: the one way they are written, and a strict way to read them. The head is constant (no name, no time, system
 *  "unknown"), so that the same input gives the same bytes on every machine. Source: RFC 1952. */
import { pipeline } from "node:stream/promises";
import { crc32, createDeflateRaw, inflateRaw } from "node:zlib";
import { type Digest, Meter } from "../base/bytes.ts";

const head = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
const trailerBytes = 8;

/** Compressed bytes come from zlib in pieces of this size: large enough that the trips to its threads cost nothing. */
const pieceBytes = 256 * 1024;

/** A whole gzip member, in pieces to be written one after the other. */
export interface Member {
  readonly pieces: readonly Uint8Array[];
  /** Of the member. */
  readonly digest: Digest;
}

/** Compresses the concatenation of `parts` on zlib's own threads. Level 0 stores, 9 is the smallest.
 *  The parts must not change until it is done. */
export async function compressMember(parts: readonly Uint8Array[], level: number): Promise<Member> {
  const pieces: Uint8Array[] = [head];
  const full = parts.filter((part) => part.byteLength > 0);
  await pipeline(full, createDeflateRaw({ level, chunkSize: pieceBytes }), async (deflated: AsyncIterable<Buffer>) => {
    for await (const piece of deflated) pieces.push(piece);
  });
  pieces.push(trailerOf(full));
  const meter = new Meter();
  for (const piece of pieces) meter.update(piece);
  return { pieces, digest: meter.digest() };
}

/** The content of exactly one member, or undefined when these bytes are anything else than one member that
 *  `compressMember` can have made of `contentBytes` bytes. Never inflates more than that. */
export async function expandMember(member: Buffer, contentBytes: number): Promise<Buffer | undefined> {
  const body = member.subarray(head.byteLength, -trailerBytes);
  if (member.byteLength < head.byteLength + trailerBytes || !member.subarray(0, head.byteLength).equals(head)) {
    return undefined;
  }
  const inflated = await inflateExactly(body, contentBytes);
  return inflated && trailerOf([inflated]).equals(member.subarray(-trailerBytes)) ? inflated : undefined;
}

function trailerOf(parts: readonly Uint8Array[]): Buffer {
  const trailer = Buffer.alloc(trailerBytes);
  let crc = 0;
  let bytes = 0;
  for (const part of parts) {
    crc = crc32(part, crc);
    bytes += part.byteLength;
  }
  trailer.writeUInt32LE(crc, 0);
  trailer.writeUInt32LE(bytes % 2 ** 32, 4);
  return trailer;
}

/** Undefined unless all of `deflated` is one deflate stream of exactly `contentBytes`. */
function inflateExactly(deflated: Buffer, contentBytes: number): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    // One byte more than expected, so that zlib is done in one call, without joining pieces.
    const options = {
      maxOutputLength: Math.max(contentBytes, 1),
      chunkSize: Math.max(contentBytes + 1, 64),
      info: true,
    };
    inflateRaw(deflated, options, (error, result: unknown) => {
      if (error !== null) return resolve(undefined);
      // The typings leave out what `info: true` gives: Node manual, zlib, "Class: Options".
      const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
      const isWhole = buffer.byteLength === contentBytes && engine.bytesWritten === deflated.byteLength;
      resolve(isWhole ? buffer : undefined);
    });
  });
}
