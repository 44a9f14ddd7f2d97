/** Forged snapshots: files that are right in every hash and length, and wrong in one point of their meaning. */
import { crc32, deflateRawSync } from "node:zlib";
import { digestOf } from "../../src/base/bytes.ts";
import { isOutcome } from "../../src/base/errors.ts";
import { parseSnapshotFileName } from "../../src/base/snapshot-name.ts";
import { compressEntry } from "../../src/snapshot/entry.ts";
import { encodeFooter, footerBytes } from "../../src/snapshot/footer.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import { tarEnd } from "../../src/snapshot/tar.ts";
import type { Encoding, Segment, StreamEntry } from "../../src/snapshot/toc.ts";
import { facts, fileOf, header, type MadeFile, never } from "./make.ts";

export const fileName = `${header.name}.tar.gz`;

/** One entry to be forged: by its content, or by the bytes of its member. */
export interface ForgedEntry {
  readonly path: string;
  readonly content: Buffer;
  /** Stands in the file instead of the right member. */
  readonly member?: Buffer;
}

export interface Forged {
  readonly fileName: string;
  readonly bytes: Buffer;
}

/** Any bytes, made into one gzip member with the right head and check sums. */
export function memberOf(content: Uint8Array): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(content), 0);
  trailer.writeUInt32LE(content.byteLength, 4);
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]), deflateRawSync(content), trailer]);
}

export async function entryMember(path: string, content: Buffer, level = 6, after?: Buffer): Promise<Buffer> {
  const modifiedAt = parseSnapshotFileName(fileName)?.startedAt ?? new Date(0);
  const frame = { path, contentBytes: content.byteLength, modifiedAt };
  const { pieces } = await compressEntry(after === undefined ? frame : { ...frame, after }, content, level);
  return Buffer.concat(pieces);
}

/** Puts members one after the other and tells where each has come to lie. */
export async function lay(entries: readonly ForgedEntry[]): Promise<{ body: Buffer; segments: Segment[] }> {
  const members: Buffer[] = [];
  const segments: Segment[] = [];
  let offset = 0;
  for (const { path, content, member } of entries) {
    const bytes = member ?? (await entryMember(path, content));
    members.push(bytes);
    segments.push({ offset, length: bytes.byteLength, sha256: digestOf(bytes).sha256, bytes: content.byteLength });
    offset += bytes.byteLength;
  }
  return { body: Buffer.concat(members), segments };
}

/** Closes a file with any manifest, given as a value or as text, and a footer that vouches for it. */
export async function close(body: Buffer, manifest: unknown): Promise<Forged> {
  const content = Buffer.isBuffer(manifest) ? manifest : Buffer.from(`${JSON.stringify(manifest)}\n`);
  const member = await entryMember("manifest.json", content, 9, tarEnd);
  return closeWith(body, member, content.byteLength);
}

export function closeWith(body: Buffer, manifestMember: Buffer, contentBytes: number): Forged {
  const { bytes: length, sha256 } = digestOf(manifestMember);
  const footer = encodeFooter({ offset: body.byteLength, length, sha256, bytes: contentBytes });
  return { fileName, bytes: Buffer.concat([body, manifestMember, footer]) };
}

/** A snapshot whose manifest is replaced, and vouched for again. */
export async function withManifest(made: MadeFile, manifest: unknown): Promise<Forged> {
  return { ...(await close(bodyOf(made), manifest)), fileName: made.fileName };
}

/** Everything before the manifest. */
export function bodyOf({ bytes }: { readonly bytes: Buffer }): Buffer {
  const footer = bytes.subarray(-footerBytes);
  return bytes.subarray(0, Number(footer.readBigUInt64LE(24)));
}

export function headerEntry(): ForgedEntry {
  return { path: "header.json", content: Buffer.from(`${JSON.stringify(header)}\n`) };
}

/** What a writer would note of a stream that lies in these segments. */
export function streamOf(
  name: string,
  stored: Buffer,
  segments: readonly Segment[],
  encoded: { readonly encoding: Encoding; readonly plain: Buffer } = { encoding: "identity", plain: stored },
): StreamEntry {
  const digest = digestOf(stored);
  const { encoding, plain } = encoded;
  return { name, encoding, plain: digestOf(plain), stored: digest, witness: { by: "pod", ...digest }, segments };
}

export function manifestOf(parts: {
  readonly headerSegment: Segment | undefined;
  readonly streams: readonly StreamEntry[];
  readonly discarded?: readonly (Segment & { readonly path: string })[];
}) {
  const startedAt = "2021-02-12T15:28:37.000Z";
  const finishedAt = "2021-02-12T15:29:00.000Z";
  const instance = {
    storage: "postgresql",
    instance: "kaa-postgresql",
    folder: "postgresql/kaa-postgresql",
    ...facts,
    startedAt,
    finishedAt,
    streams: parts.streams,
  };
  return {
    ...header,
    requires: [],
    startedAt,
    finishedAt,
    clusterVersion: "v1.31.2",
    complete: true,
    instances: [instance],
    failures: [],
    headerSegment: parts.headerSegment,
    discarded: parts.discarded ?? [],
  };
}

/** Cuts content into segments smaller than a writer's, so that a file of few bytes has many. */
export function slices(base: string, content: Buffer, sliceBytes: number): ForgedEntry[] {
  const entries: ForgedEntry[] = [];
  for (let at = 0; at < content.byteLength; at += sliceBytes) {
    const path = `${base}.${String(entries.length).padStart(6, "0")}`;
    entries.push({ path, content: content.subarray(at, at + sliceBytes) });
  }
  return entries;
}

/** A file of one stream in three segments; `change` may put its entries in another order, or others in their places. */
export async function threeSegments(
  content: Buffer,
  change: (entries: ForgedEntry[]) => readonly ForgedEntry[],
): Promise<Forged> {
  const sliceBytes = content.byteLength / 3;
  const entries = [headerEntry(), ...slices("postgresql/kaa-postgresql/a", content, sliceBytes)];
  const { body, segments } = await lay(change(entries));
  return close(body, manifestOf({ headerSegment: segments[0], streams: [streamOf("a", content, segments.slice(1))] }));
}

/** The message with which a file is refused; "accepted" if it is not. */
export async function refusal(file: Forged): Promise<string> {
  try {
    const snapshot = await openSnapshot(fileOf(file), never);
    await snapshot.verifyAll(never);
    return "accepted";
  } catch (error) {
    if (!isOutcome(error, "invalid-snapshot")) throw error;
    return error.message;
  }
}
