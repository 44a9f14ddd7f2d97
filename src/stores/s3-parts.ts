/** The parts of one multipart upload. */
import * as zlib from "node:zlib";
import { type CompletedPart, UploadPartCommand } from "@aws-sdk/client-s3";
import { UserError } from "../base/errors.ts";
import type { S3Connection } from "./s3-client.ts";
import type { Upload } from "./s3-object.ts";
import { type SaveRequest, untilAborted } from "./store.ts";

const MiB = 1024 * 1024;
/** Of S3 and nearly every store that speaks its protocol. */
const mostParts = 10_000;
/** A slower connection than this is given up: 64 KiB/s. */
const slowestBytesPerMs = 64;

const smallestPartBytes = 8 * MiB;

/** Size of the parts of an archive that is expected to have so many bytes: 8,000 of them hold it, the rest is for a guess
 *  that was too low. */
export function firstPartBytes(expectedBytes: number): number {
  return Math.max(smallestPartBytes, Math.ceil(expectedBytes / 8_000 / MiB) * MiB);
}

/** Size of a part, so that 10,000 parts of a stream of unknown length reach 5 TiB. Parts are buffered whole, because an
 *  attempt may have to be repeated, so memory follows (and as much again while the HTTP client sends them): up to 31 GiB
 *  parts have 8 MiB, and three of them are held, two in flight and one being filled. Beyond, if the first are so small, two are
 *  held: 64 MiB up to 109 GiB, 512 MiB up to 284 GiB, then 3.5 GiB. Equal parts, which a few stores insist on, are what an
 *  archive of the expected size has. None reaches 2 GiB: Node hashes no buffer of that size. */
export function partSizeBytes(partNumber: number, firstSizeBytes: number): number {
  if (partNumber <= 4_000) return firstSizeBytes;
  const grownMiB = partNumber <= 6_500 ? 32 : partNumber <= 7_200 ? 256 : 1_792;
  return Math.max(firstSizeBytes, grownMiB * MiB);
}

export interface SentParts {
  readonly parts: readonly CompletedPart[];
  readonly sizeBytes: number;
  /** Base64 CRC-32 of the whole object. */
  readonly crc32: string;
  /** What the store says instead when it keeps checksums of parts only. */
  readonly crc32OfParts: string;
}

/** Cuts the archive into parts and sends them. When it throws, no part is on its way any more.
 *  @throws what the archive threw, the signal's reason, or the first failure of a part. */
export async function sendParts(
  connection: S3Connection,
  upload: Upload,
  request: Pick<SaveRequest, "archive" | "expectedBytes" | "signal" | "onProgress">,
): Promise<SentParts> {
  const firstSizeBytes = connection.options.partSizeBytes ?? firstPartBytes(request.expectedBytes ?? 0);
  const failed = new AbortController();
  const signal = AbortSignal.any([request.signal, failed.signal]);
  const inFlight = new Set<Promise<void>>();
  const buffers: Buffer[] = [];
  const parts: CompletedPart[] = [];
  const crcs: Buffer[] = [];
  let crc32 = 0;
  let sizeBytes = 0;
  let storedBytes = 0;

  const takeBuffer = (): Buffer => {
    const partNumber = parts.length + 1;
    if (partNumber > mostParts) {
      throw new UserError(
        "object-store",
        `${upload.doing}: it is larger than ${sizeBytes} bytes, and parts have run out`,
      );
    }
    const size = partSizeBytes(partNumber, firstSizeBytes);
    const used = buffers.pop();
    return used?.byteLength === size ? used : Buffer.allocUnsafeSlow(size);
  };
  const launch = async (buffer: Buffer, filledBytes: number): Promise<void> => {
    const most = buffer.byteLength > 16 * MiB ? 1 : (connection.options.partsInFlight ?? 2);
    while (inFlight.size >= most) await Promise.race(inFlight);
    signal.throwIfAborted();
    const body = buffer.subarray(0, filledBytes);
    const index = parts.length;
    const crc = crcBytes(zlib.crc32(body));
    crc32 = zlib.crc32(body, crc32);
    crcs.push(crc);
    parts.push({ PartNumber: index + 1 });
    sizeBytes += filledBytes;
    const sending = sendPart(connection, upload, { partNumber: index + 1, body, crc32: crc.toString("base64"), signal })
      .then((part) => {
        parts[index] = part;
        buffers.push(buffer);
        storedBytes += filledBytes;
        request.onProgress?.(storedBytes);
      })
      .catch((error: unknown) => failed.abort(error))
      .finally(() => inFlight.delete(sending));
    inFlight.add(sending);
  };

  try {
    let buffer: Buffer | undefined;
    let filledBytes = 0;
    for await (const chunk of untilAborted(request.archive, signal)) {
      for (let taken = 0; taken < chunk.byteLength; ) {
        buffer ??= takeBuffer();
        const piece = chunk.subarray(taken, taken + buffer.byteLength - filledBytes);
        buffer.set(piece, filledBytes);
        taken += piece.byteLength;
        filledBytes += piece.byteLength;
        if (filledBytes < buffer.byteLength) continue;
        await launch(buffer, filledBytes);
        buffer = undefined;
        filledBytes = 0;
      }
    }
    if (buffer !== undefined) await launch(buffer, filledBytes);
    if (parts.length === 0) throw new Error(`${upload.doing}: the archive is empty`);
    await Promise.all(inFlight);
    signal.throwIfAborted();
  } catch (error) {
    failed.abort(error);
    await Promise.all(inFlight);
    throw error;
  }
  const crc32OfParts = `${crcBytes(zlib.crc32(Buffer.concat(crcs))).toString("base64")}-${parts.length}`;
  return { parts, sizeBytes, crc32: crcBytes(crc32).toString("base64"), crc32OfParts };
}

async function sendPart(
  connection: S3Connection,
  upload: Upload,
  part: {
    readonly partNumber: number;
    readonly body: Buffer;
    readonly crc32: string;
    readonly signal: AbortSignal;
  },
): Promise<CompletedPart> {
  const { partNumber, body, signal } = part;
  const doing = `${upload.doing}: part ${partNumber}`;
  const checksum = upload.checksums === "none" ? {} : { ChecksumCRC32: part.crc32 };
  const { transferBudgetMs, idleMs } = connection.timing;
  const call = {
    doing,
    permission: "s3:PutObject",
    signal,
    budgetMs: transferBudgetMs,
    attemptMs: 2 * idleMs + body.byteLength / slowestBytesPerMs,
  };
  const answer = await connection.call(call, (client, options) =>
    client.send(
      new UploadPartCommand({
        ...connection.bucket,
        Key: upload.key,
        UploadId: upload.id,
        PartNumber: partNumber,
        // A Buffer of known length: a stream would be sent in aws-chunked form, which stores other than AWS refuse.
        Body: body,
        ContentLength: body.byteLength,
        ...checksum,
      }),
      options,
    ),
  );
  if (!answer.ETag) throw new UserError("object-store", `${doing}: the store gave no ETag for it`);
  if (answer.ChecksumCRC32 !== undefined && answer.ChecksumCRC32 !== part.crc32) {
    throw new UserError("object-store", `${doing}: the store holds other bytes than were sent`);
  }
  return { PartNumber: partNumber, ETag: answer.ETag, ...checksum };
}

function crcBytes(crc32: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32);
  return bytes;
}
