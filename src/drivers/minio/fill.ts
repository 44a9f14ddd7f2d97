/** Fills a bucket from its tar. Versions of one key go in one after the other, so that their order stays; different keys
 *  go side by side. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  type ObjectLockRetentionMode,
  PutObjectCommand,
  PutObjectLegalHoldCommand,
  PutObjectRetentionCommand,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { type Bytes, collect } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import { tarEntries } from "../tar.ts";
import type { ObjectRecord } from "./dump.ts";
import { connections, type Server } from "./server.ts";

/** Larger objects go up in parts. */
const smallBytes = 1024 * 1024;
const partBytes = 8 * 1024 * 1024;
const partsLimit = 9000;
const recordBytes = 1024 * 1024;
const abortMs = 10_000;

/** @param isThere says whether the bucket still holds this very version in its place, because it is locked; asked once for
 *  each record, in order.
 *  @throws UserError `invalid-snapshot` for a tar that is not one of ours. */
export async function fillBucket(
  server: Server,
  bucket: string,
  tar: Bytes,
  isThere: (record: ObjectRecord) => boolean,
): Promise<void> {
  const lanes = new Lanes();
  let record: ObjectRecord | undefined;
  let isKept = false;
  for await (const { name, sizeBytes, content } of tarEntries(tar)) {
    if (name.endsWith(".json")) {
      record = parseRecord(await collect(content, recordBytes));
      isKept = isThere(record);
      if (record.deleteMarker !== true) continue;
      const { key } = record;
      record = undefined;
      await lanes.add(key, () =>
        server.client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), opts(server)),
      );
    } else {
      if (record === undefined) throw new UserError("invalid-snapshot", `minio's "${name}" has no record before it`);
      const object = record;
      record = undefined;
      if (isKept) continue;
      if (sizeBytes <= smallBytes) {
        const body = await collect(content, smallBytes);
        await lanes.add(object.key, () => putSmall(server, bucket, object, body));
      } else {
        await lanes.idle();
        await putLarge(server, bucket, object, { sizeBytes, content });
      }
    }
  }
  await lanes.idle();
}

/** At most so many tasks at a time, and one for each key. */
class Lanes {
  readonly #running = new Map<string, Promise<unknown>>();
  #failed: { readonly error: unknown } | undefined;

  /** Waits until the task may begin, and begins it. @throws what an earlier task has thrown. */
  async add(key: string, task: () => Promise<unknown>): Promise<void> {
    await this.#running.get(key);
    while (this.#running.size >= connections) await Promise.race(this.#running.values());
    this.#check();
    const running = task()
      .catch((error: unknown) => {
        this.#failed ??= { error };
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, running);
  }

  async idle(): Promise<void> {
    await Promise.all(this.#running.values());
    this.#check();
  }

  #check(): void {
    if (this.#failed !== undefined) throw this.#failed.error;
  }
}

function opts({ signal }: Server) {
  return { abortSignal: signal };
}

function parseRecord(bytes: Buffer): ObjectRecord {
  try {
    const record = JSON.parse(bytes.toString("utf8")) as ObjectRecord; // checked below, as far as it is used as text
    if (typeof record.key === "string" && record.key !== "") return record;
  } catch {
    // said below
  }
  throw new UserError("invalid-snapshot", "minio's record of an object is damaged");
}

function attributes({ key, headers, metadata, tags }: ObjectRecord, bucket: string) {
  const { Expires, ...rest } = headers ?? {};
  const tagging = (tags ?? [])
    .map(({ Key, Value }) => `${encodeURIComponent(Key)}=${encodeURIComponent(Value)}`)
    .join("&");
  return {
    Bucket: bucket,
    Key: key,
    ...rest,
    ...(Expires !== undefined && !Number.isNaN(Date.parse(Expires)) && { Expires: new Date(Expires) }),
    ...(metadata !== undefined && { Metadata: { ...metadata } }),
    ...(tagging !== "" && { Tagging: tagging }),
  };
}

async function putSmall(server: Server, bucket: string, record: ObjectRecord, body: Buffer): Promise<void> {
  const command = new PutObjectCommand({ ...attributes(record, bucket), Body: body, ContentLength: body.byteLength });
  const { VersionId } = await server.client.send(command, opts(server));
  await lock(server, bucket, record, VersionId);
}

async function putLarge(
  server: Server,
  bucket: string,
  record: ObjectRecord,
  { sizeBytes, content }: { readonly sizeBytes: number; readonly content: Bytes },
): Promise<void> {
  const at = { Bucket: bucket, Key: record.key };
  const created = await server.client.send(new CreateMultipartUploadCommand(attributes(record, bucket)), opts(server));
  const upload = { ...at, UploadId: created.UploadId };
  try {
    const Parts: { readonly PartNumber: number; readonly ETag: string | undefined }[] = [];
    for await (const Body of cut(content, Math.max(partBytes, Math.ceil(sizeBytes / partsLimit)))) {
      const PartNumber = Parts.length + 1;
      const part = new UploadPartCommand({ ...upload, PartNumber, Body, ContentLength: Body.byteLength });
      Parts.push({ PartNumber, ETag: (await server.client.send(part, opts(server))).ETag });
    }
    const complete = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } });
    const { VersionId } = await server.client.send(complete, opts(server));
    await lock(server, bucket, record, VersionId);
  } catch (error) {
    const abort = new AbortMultipartUploadCommand(upload);
    await server.client.send(abort, { abortSignal: AbortSignal.timeout(abortMs) }).catch(() => {}); // the first error says more
    throw error;
  }
}

/** Pieces of exactly so many bytes, the last may be shorter. */
async function* cut(content: Bytes, pieceBytes: number): AsyncGenerator<Buffer> {
  let piece = Buffer.allocUnsafe(pieceBytes);
  let filled = 0;
  for await (let chunk of content) {
    while (chunk.byteLength > 0) {
      const taken = Math.min(chunk.byteLength, pieceBytes - filled);
      piece.set(chunk.subarray(0, taken), filled);
      filled += taken;
      chunk = chunk.subarray(taken);
      if (filled < pieceBytes) continue;
      yield piece;
      piece = Buffer.allocUnsafe(pieceBytes);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/** Retention and legal hold of the version that was just put; a retention that has run out is left out. */
async function lock(
  server: Server,
  bucket: string,
  { key, retention, legalHold }: ObjectRecord,
  versionId: string | undefined,
): Promise<void> {
  const at = { Bucket: bucket, Key: key, ...(versionId !== undefined && { VersionId: versionId }) };
  if (retention !== undefined && Date.parse(retention.until) > Date.now()) {
    const Mode = retention.mode as ObjectLockRetentionMode; // the server checks it
    const Retention = { Mode, RetainUntilDate: new Date(retention.until) };
    await server.client.send(new PutObjectRetentionCommand({ ...at, Retention }), opts(server));
  }
  if (legalHold === true)
    await server.client.send(new PutObjectLegalHoldCommand({ ...at, LegalHold: { Status: "ON" } }), opts(server));
}
