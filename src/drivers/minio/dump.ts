/** A bucket as a tar: for each version N.json, which says what it is, and behind it N.data with its content. Small objects
 *  are fetched several at a time; large ones stream through. Each is one answer of the server, so it is of one moment, and
 *  is compared with its length and ETag. */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { GetObjectCommand, type GetObjectCommandOutput, GetObjectTaggingCommand } from "@aws-sdk/client-s3";
import { type Bytes, collect } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import { unstalled } from "../../base/stall.ts";
import { tarEnd, tarHeader, tarPadding } from "../tar.ts";
import { type Version, versionsOf } from "./listing.ts";
import { connections, isS3Error, type Server } from "./server.ts";

/** Larger objects are not held in memory. */
const smallBytes = 1024 * 1024;

/** What N.json says. Dates are RFC 3339. */
export interface ObjectRecord {
  readonly key: string;
  readonly versionId: string;
  readonly modified: string;
  readonly deleteMarker?: true;
  readonly etag?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly tags?: readonly { readonly Key: string; readonly Value: string }[];
  readonly retention?: { readonly mode: string; readonly until: string };
  readonly legalHold?: true;
}

export interface DumpedCounts {
  objects: number;
  deleteMarkers: number;
  /** Objects that were deleted between listing and reading. */
  vanished: number;
}

/** @param isVersioned whether the bucket's versions can be asked for by their ids. */
export async function* bucketArchive(
  server: Server,
  bucket: { readonly name: string; readonly isVersioned: boolean },
  counts: DumpedCounts,
): Bytes & AsyncGenerator<Uint8Array> {
  let number = 0;
  for await (const open of aheadOf(versionsOf(server, bucket.name), (version) =>
    fetchVersion(server, bucket, version),
  )) {
    const fetched = await open();
    if (fetched === undefined) {
      counts.vanished += 1;
      continue;
    }
    number += 1;
    const { record, content, sizeBytes } = fetched;
    const json = Buffer.from(JSON.stringify(record));
    yield Buffer.concat([tarHeader(`${number}.json`, json.byteLength), json, tarPadding(json.byteLength)]);
    if (content === undefined) {
      counts.deleteMarkers += 1;
      continue;
    }
    yield tarHeader(`${number}.data`, sizeBytes);
    yield* proved(content, fetched);
    yield tarPadding(sizeBytes);
    counts.objects += 1;
  }
  yield tarEnd;
}

/** Does the work for the next few items while one is used; gives the results in order. */
async function* aheadOf<T, R>(items: AsyncIterable<T>, work: (item: T) => Promise<R>): AsyncGenerator<R> {
  const begun: Promise<R>[] = [];
  for await (const item of items) {
    const next = work(item);
    next.catch(() => {}); // awaited below, in its turn
    begun.push(next);
    const oldest = begun.length >= connections - 2 ? begun.shift() : undefined;
    if (oldest !== undefined) yield await oldest;
  }
  for (const each of begun) yield await each;
}

interface Fetched {
  readonly record: ObjectRecord;
  readonly sizeBytes: number;
  /** What the content must have; absent where an ETag is no MD5: objects in parts, encrypted ones. */
  readonly md5?: string | undefined;
  readonly content?: Bytes;
}

/** @returns what gives the version when its turn comes: a small one is there already, a large one is asked for only then,
 *  so that its connection does not wait. Undefined: it was deleted since it was listed. */
async function fetchVersion(
  server: Server,
  bucket: { readonly name: string; readonly isVersioned: boolean },
  version: Version,
): Promise<() => Promise<Fetched | undefined>> {
  const { key, versionId, isDeleteMarker, modifiedAt } = version;
  const record = { key, versionId, modified: new Date(modifiedAt).toISOString() };
  if (isDeleteMarker) return async () => ({ record: { ...record, deleteMarker: true }, sizeBytes: 0 });
  const at = { Bucket: bucket.name, Key: key, ...(bucket.isVersioned && { VersionId: versionId }) };
  const open = () => openObject(server, at, record);
  if (version.sizeBytes > smallBytes) return open;
  const object = await open();
  if (object?.content === undefined) return async () => undefined;
  if (object.sizeBytes > smallBytes) {
    // It has been replaced by a large one since it was listed.
    await letGo(object.content);
    return open;
  }
  const content = await collect(object.content, smallBytes);
  return async () => ({ ...object, content: once(content) });
}

interface At {
  readonly Bucket: string;
  readonly Key: string;
  readonly VersionId?: string;
}

/** @returns undefined when there is no such object (any more). */
async function openObject(server: Server, at: At, record: ObjectRecord): Promise<Fetched | undefined> {
  let content: Bytes | undefined;
  try {
    const answer = await server.client.send(new GetObjectCommand(at), { abortSignal: server.signal });
    content = bodyOf(answer);
    const { ContentLength: sizeBytes } = answer;
    if (sizeBytes === undefined)
      throw new UserError("storage-failed", `MinIO: ${JSON.stringify(at.Key)} has no length`);
    const tags = await tagsOf(server, at, answer);
    return { record: { ...record, ...facts(answer), ...tags }, sizeBytes, md5: md5Of(answer), content };
  } catch (error) {
    if (content !== undefined) await letGo(content);
    if (isS3Error(error, "NoSuchKey", "NotFound", "NoSuchVersion")) return undefined;
    throw error;
  }
}

/** Frees the connection of a body that is not wanted. */
async function letGo(content: Bytes): Promise<void> {
  for await (const _ of content) break;
}

function md5Of({ ETag = "", ServerSideEncryption, SSECustomerAlgorithm }: GetObjectCommandOutput): string | undefined {
  if (ServerSideEncryption !== undefined || SSECustomerAlgorithm !== undefined) return undefined;
  return /^"?([0-9a-f]{32})"?$/.exec(ETag)?.[1];
}

function bodyOf(answer: GetObjectCommandOutput): Bytes {
  if (answer.Body === undefined) throw new Error("an answer without a body");
  return unstalled(answer.Body as Readable); // in Node it is one
}

async function* once(bytes: Uint8Array): Bytes & AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** @throws UserError when the content has another length than was promised, which would shift everything behind it, or
 *  another hash. */
async function* proved(content: Bytes, { record, sizeBytes, md5 }: Fetched): Bytes & AsyncGenerator<Uint8Array> {
  const hash = createHash("md5");
  let total = 0;
  for await (const chunk of content) {
    total += chunk.byteLength;
    if (total > sizeBytes) break;
    hash.update(chunk);
    yield chunk;
  }
  const object = `MinIO: object ${JSON.stringify(record.key)}`;
  if (total !== sizeBytes) throw new UserError("stream-lost", `${object} ended at ${total} of ${sizeBytes} bytes`);
  if (md5 !== undefined && hash.digest("hex") !== md5)
    throw new UserError("storage-failed", `${object} is not what its ETag says: ${md5}`);
}

function facts(answer: GetObjectCommandOutput): Omit<ObjectRecord, "key" | "versionId" | "modified"> {
  const headers = Object.entries({
    ContentType: answer.ContentType,
    ContentEncoding: answer.ContentEncoding,
    ContentDisposition: answer.ContentDisposition,
    ContentLanguage: answer.ContentLanguage,
    CacheControl: answer.CacheControl,
    Expires: answer.ExpiresString,
    WebsiteRedirectLocation: answer.WebsiteRedirectLocation,
  }).filter((each): each is [string, string] => each[1] !== undefined);
  const { ObjectLockMode: mode, ObjectLockRetainUntilDate: until } = answer;
  return {
    ...(answer.ETag !== undefined && { etag: answer.ETag }),
    headers: Object.fromEntries(headers),
    ...(Object.keys(answer.Metadata ?? {}).length > 0 && { metadata: answer.Metadata ?? {} }),
    ...(mode !== undefined && until !== undefined && { retention: { mode, until: until.toISOString() } }),
    ...(answer.ObjectLockLegalHoldStatus === "ON" && { legalHold: true }),
  };
}

async function tagsOf(server: Server, at: At, answer: GetObjectCommandOutput): Promise<Pick<ObjectRecord, "tags">> {
  if ((answer.TagCount ?? 0) === 0) return {};
  const { TagSet = [] } = await server.client.send(new GetObjectTaggingCommand(at), { abortSignal: server.signal });
  return { tags: TagSet.map(({ Key = "", Value = "" }) => ({ Key, Value })) };
}
