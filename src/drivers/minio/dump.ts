/** A bucket as a tar: for each version N.json, which says what it is, and behind it N.data with its content. Small objects
 *  are fetched several at a time; large ones stream through. */
import { GetObjectCommand, type GetObjectCommandOutput, GetObjectTaggingCommand } from "@aws-sdk/client-s3";
import { type Bytes, collect } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
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
  for await (const fetched of aheadOf(versionsOf(server, bucket.name), (version) =>
    fetchVersion(server, bucket, version),
  )) {
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
    yield* exactly(content, sizeBytes, record.key);
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
  readonly content?: Bytes;
}

async function fetchVersion(
  server: Server,
  bucket: { readonly name: string; readonly isVersioned: boolean },
  version: Version,
): Promise<Fetched | undefined> {
  const { key, versionId, isDeleteMarker, modifiedAt } = version;
  const record = { key, versionId, modified: new Date(modifiedAt).toISOString() };
  if (isDeleteMarker) return { record: { ...record, deleteMarker: true }, sizeBytes: 0 };
  const at = { Bucket: bucket.name, Key: key, ...(bucket.isVersioned && { VersionId: versionId }) };
  const get = () => server.client.send(new GetObjectCommand(at), { abortSignal: server.signal });
  try {
    // A large object is asked for when its turn comes, so that connections do not wait while it streams.
    if (version.sizeBytes > smallBytes) return await large(server, at, version, record);
    const answer = await get();
    const content = await collect(bodyOf(answer), smallBytes + (answer.ContentLength ?? 0));
    const tags = await tagsOf(server, at, answer);
    return {
      record: { ...record, ...facts(answer), ...tags },
      sizeBytes: content.byteLength,
      content: once(content),
    };
  } catch (error) {
    // In a bucket without versions an object may go while we read.
    if (isS3Error(error, "NoSuchKey", "NotFound", "NoSuchVersion")) return undefined;
    throw error;
  }
}

interface At {
  readonly Bucket: string;
  readonly Key: string;
  readonly VersionId?: string;
}

async function large(server: Server, at: At, { etag }: Version, record: ObjectRecord): Promise<Fetched> {
  const options = { abortSignal: server.signal };
  // The first byte tells everything about the object but its content; the rest must be of the same object.
  const first = await server.client.send(new GetObjectCommand({ ...at, Range: "bytes=0-0" }), options);
  await collect(bodyOf(first), 16);
  const sizeBytes = Number(/\/(\d+)$/.exec(first.ContentRange ?? "")?.[1]);
  const tags = await tagsOf(server, at, first);
  const IfMatch = first.ETag ?? etag;
  return {
    record: { ...record, ...facts(first), ...tags },
    sizeBytes,
    content: (async function* () {
      yield* bodyOf(await server.client.send(new GetObjectCommand({ ...at, IfMatch }), options));
    })(),
  };
}

function bodyOf(answer: GetObjectCommandOutput): Bytes {
  if (answer.Body === undefined) throw new Error("an answer without a body");
  return answer.Body as unknown as Bytes; // in Node it is a Readable
}

async function* once(bytes: Uint8Array): Bytes & AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** @throws UserError when the content has another length than was promised: it would shift everything behind it. */
async function* exactly(content: Bytes, sizeBytes: number, key: string): Bytes & AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const chunk of content) {
    total += chunk.byteLength;
    if (total > sizeBytes) break;
    yield chunk;
  }
  if (total !== sizeBytes)
    throw new UserError("stream-lost", `MinIO: object ${JSON.stringify(key)} ended at ${total} of ${sizeBytes} bytes`);
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
