/** Snapshots in an S3 bucket, at its root. With s3-upload.ts and s3-errors.ts the only code that knows the S3 library. */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import type { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  type BucketLocationConstraint,
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { UserError } from "../base/errors.ts";
import { defaultRetry, explain, isStatus, isTransient, type RetryPolicy, retrying, serviceError } from "./s3-errors.ts";
import { upload } from "./s3-upload.ts";
import { isSnapshotFileName, type OpenFile, type SaveRequest, type Store, type StoredFile } from "./store.ts";

export interface S3Options {
  readonly bucket: string;
  readonly region: string;
  /** For S3-compatible stores; path-style addresses are used then. */
  readonly endpoint?: string;
  /** Account id that must own the bucket. */
  readonly expectedOwner?: string;
  readonly retry?: RetryPolicy;
  /** Something worth telling the operator. */
  readonly note?: (message: string) => void;
}

const orphanAgeMs = 24 * 60 * 60 * 1000;
const idleTimeoutMs = 60_000;

interface Place {
  readonly client: S3Client;
  readonly bucket: string;
  readonly region: string;
  readonly location: string;
  readonly owner: { readonly ExpectedBucketOwner?: string };
  readonly retry: RetryPolicy;
  readonly note: (message: string) => void;
}

/** Contacts nothing yet. Credentials come from where AWS tools find them.
 *  @throws UserError `usage` for a name that no bucket can have. */
export function s3Store(options: S3Options): Store {
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(options.bucket)) {
    throw new UserError(
      "usage",
      `"${options.bucket}" can be no bucket's name: 3 to 63 lower-case letters, digits, hyphens`,
    );
  }
  if (options.endpoint?.startsWith("http:") === true) options.note?.("the S3 endpoint is not encrypted (http)");
  const place: Place = {
    client: makeClient(options),
    bucket: options.bucket,
    region: options.region,
    location: `s3://${options.bucket}`,
    owner: options.expectedOwner === undefined ? {} : { ExpectedBucketOwner: options.expectedOwner },
    retry: options.retry ?? defaultRetry,
    note: options.note ?? (() => {}),
  };
  return {
    location: place.location,
    prepare: (signal) => prepare(place, signal),
    save: (request) => save(place, request),
    list: (signal) => list(place, signal),
    open: (fileName, signal) => open(place, fileName, signal),
    remove: (fileName, signal) => remove(place, fileName, signal),
  };
}

function makeClient({ region, endpoint }: S3Options): S3Client {
  const agents = { keepAlive: true, maxSockets: 16 };
  return new S3Client({
    region,
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
    maxAttempts: 1, // retries are ours
    requestChecksumCalculation: "WHEN_REQUIRED", // checksums are set by us; others break S3-compatible stores
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: 10_000,
      requestTimeout: idleTimeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: new HttpAgent(agents),
      httpsAgent: new HttpsAgent(agents),
    },
  });
}

async function prepare(place: Place, signal: AbortSignal): Promise<void> {
  const bucket = { Bucket: place.bucket, ...place.owner };
  const call = <T>(work: () => Promise<T>) => retrying(place.retry, signal, work);
  try {
    await call(() => place.client.send(new HeadBucketCommand(bucket), { abortSignal: signal }));
  } catch (error) {
    if (!isStatus(error, 404)) throw explain(error, `cannot use bucket ${place.location}`, "s3:ListBucket");
    await createBucket(place, signal);
    return;
  }
  await abortOrphans(place, signal);
}

async function createBucket(place: Place, signal: AbortSignal): Promise<void> {
  const doing = `cannot create bucket ${place.location}`;
  const constraint = place.region as BucketLocationConstraint; // the SDK lists the regions of its own time
  try {
    await retrying(place.retry, signal, () =>
      place.client.send(
        new CreateBucketCommand({
          Bucket: place.bucket,
          ...(place.region !== "us-east-1" && { CreateBucketConfiguration: { LocationConstraint: constraint } }),
        }),
        { abortSignal: signal },
      ),
    );
    place.note(`created bucket ${place.location}`);
  } catch (error) {
    const name = serviceError(error)?.name;
    if (name === "BucketAlreadyExists") {
      throw new UserError("credentials", `${doing}: somebody else owns a bucket of this name`, { cause: error });
    }
    if (name !== "BucketAlreadyOwnedByYou") throw explain(error, doing, "s3:CreateBucket");
  }
  await secure(place, signal);
}

/** Settings that not every S3-compatible store has: private for good, and uploads of killed runs end by themselves. */
async function secure(place: Place, signal: AbortSignal): Promise<void> {
  const all = { BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true };
  const rule = { ID: "abort-incomplete-uploads", Status: "Enabled", Filter: { Prefix: "" } } as const;
  const settings = [
    () =>
      place.client.send(
        new PutPublicAccessBlockCommand({ Bucket: place.bucket, ...place.owner, PublicAccessBlockConfiguration: all }),
        { abortSignal: signal },
      ),
    () =>
      place.client.send(
        new PutBucketLifecycleConfigurationCommand({
          Bucket: place.bucket,
          ...place.owner,
          LifecycleConfiguration: { Rules: [{ ...rule, AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 } }] },
        }),
        { abortSignal: signal },
      ),
  ];
  for (const set of settings) {
    try {
      await set();
    } catch (error) {
      signal.throwIfAborted();
      if (serviceError(error) === undefined)
        throw explain(error, `cannot set up ${place.location}`, "s3:PutBucketPolicy");
      place.note(`${place.location}: the store refused a setting: ${serviceError(error)?.name}`);
    }
  }
}

/** Ends uploads of snapshots that a killed run has left open for more than a day. */
async function abortOrphans(place: Place, signal: AbortSignal): Promise<void> {
  const bucket = { Bucket: place.bucket, ...place.owner };
  try {
    const { Uploads } = await place.client.send(new ListMultipartUploadsCommand(bucket), { abortSignal: signal });
    for (const { Key, UploadId, Initiated } of Uploads ?? []) {
      const isOld = Initiated !== undefined && Date.now() - Initiated.getTime() > orphanAgeMs;
      if (Key === undefined || UploadId === undefined || !isOld || !isSnapshotFileName(Key)) continue;
      await place.client.send(new AbortMultipartUploadCommand({ ...bucket, Key, UploadId }), { abortSignal: signal });
      place.note(`ended an upload of "${Key}" that a killed run had left open`);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!isStatus(error, 403, 404, 405, 501))
      throw explain(error, `cannot clean up ${place.location}`, "s3:AbortMultipartUpload");
  }
}

async function save(place: Place, request: SaveRequest): Promise<StoredFile> {
  checkName(request.fileName);
  const where = { Bucket: place.bucket, Key: request.fileName, ...place.owner };
  const head = await headOrAbsent(place, where, request.signal);
  if (head) throw new UserError("busy", `a snapshot "${request.fileName}" exists already in ${place.location}`);
  const { sizeBytes } = await upload(place, request).finally(() => closeArchive(request));
  return { fileName: request.fileName, sizeBytes, modifiedAt: new Date() };
}

/** An upload that failed before it read anything must still let the archive's producer go. */
async function closeArchive(request: SaveRequest): Promise<void> {
  await request.archive[Symbol.asyncIterator]().return?.();
}

async function headOrAbsent(
  place: Place,
  where: { Bucket: string; Key: string },
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await retrying(place.retry, signal, () => place.client.send(new HeadObjectCommand(where), { abortSignal: signal }));
    return true;
  } catch (error) {
    signal.throwIfAborted();
    if (isStatus(error, 404)) return false;
    throw explain(error, `cannot look into ${place.location}`, "s3:GetObject");
  }
}

async function* list(place: Place, signal: AbortSignal): AsyncGenerator<StoredFile> {
  const seen = new Set<string>();
  let token: string | undefined;
  do {
    const command = new ListObjectsV2Command({
      Bucket: place.bucket,
      Delimiter: "/",
      ...place.owner,
      ...(token !== undefined && { ContinuationToken: token }),
    });
    const page = await retrying(place.retry, signal, () => place.client.send(command, { abortSignal: signal })).catch(
      (error: unknown) => {
        signal.throwIfAborted();
        throw explain(error, `cannot list ${place.location}`, "s3:ListBucket");
      },
    );
    for (const { Key, Size, LastModified } of page.Contents ?? []) {
      if (Key === undefined || !isSnapshotFileName(Key)) continue;
      yield { fileName: Key, sizeBytes: Size ?? 0, modifiedAt: LastModified ?? new Date(0) };
    }
    token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    if (page.IsTruncated === true && (token === undefined || seen.has(token))) {
      throw new UserError("object-store", `cannot list ${place.location}: the store repeats a page for ever`);
    }
    if (token !== undefined) seen.add(token);
  } while (token !== undefined);
}

async function open(place: Place, fileName: string, signal: AbortSignal): Promise<OpenFile> {
  checkName(fileName);
  const where = { Bucket: place.bucket, Key: fileName, ...place.owner };
  const doing = `cannot read "${fileName}" in ${place.location}`;
  const head = await retrying(place.retry, signal, () =>
    place.client.send(new HeadObjectCommand(where), { abortSignal: signal }),
  ).catch((error: unknown) => {
    signal.throwIfAborted();
    throw explain(error, doing, "s3:GetObject");
  });
  const archived = head.StorageClass === "GLACIER" || head.StorageClass === "DEEP_ARCHIVE";
  if (archived && !/ongoing-request="false"/.test(head.Restore ?? "")) {
    const hint = `aws s3api restore-object --bucket ${place.bucket} --key ${fileName} --restore-request Days=7`;
    throw new UserError("object-store", `${doing}: it is archived (${head.StorageClass})`, { hints: [hint] });
  }
  if (head.ETag === undefined || head.ContentLength === undefined) {
    throw new UserError("object-store", `${doing}: the store tells neither its size nor its ETag`);
  }
  const pin = head.VersionId === undefined ? { IfMatch: head.ETag } : { VersionId: head.VersionId, IfMatch: head.ETag };
  return {
    fileName,
    sizeBytes: head.ContentLength,
    read: (offset, lengthBytes, readSignal) => read(place, { where, pin, doing }, { offset, lengthBytes }, readSignal),
    async close() {},
  };
}

/** Range reads; a connection that breaks is taken up again where it stopped. */
async function* read(
  place: Place,
  file: { readonly where: { Bucket: string; Key: string }; readonly pin: { IfMatch: string }; readonly doing: string },
  range: { readonly offset: number; readonly lengthBytes: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const end = range.offset + range.lengthBytes;
  let at = range.offset;
  let giveUpAt = Date.now() + place.retry.budgetMs;
  while (at < end) {
    const command = new GetObjectCommand({ ...file.where, ...file.pin, Range: `bytes=${at}-${end - 1}` });
    try {
      const answer = await retrying(place.retry, signal, () => place.client.send(command, { abortSignal: signal }));
      if (!(answer.ContentRange ?? "").startsWith(`bytes ${at}-${end - 1}/`)) {
        throw new UserError("object-store", `${file.doing}: the store ignored the range asked for`);
      }
      const body = answer.Body as Readable; // on Node the SDK gives a Readable
      for await (const chunk of body as AsyncIterable<Buffer>) {
        at += chunk.byteLength;
        if (at > end) throw new UserError("object-store", `${file.doing}: the store sent more than asked for`);
        giveUpAt = Date.now() + place.retry.budgetMs;
        yield chunk;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (isStatus(error, 412, 404)) {
        throw new UserError("object-store", `${file.doing}: it was changed or removed while we read it`, {
          cause: error,
        });
      }
      if (!isTransient(error) || Date.now() > giveUpAt) throw explain(error, file.doing, "s3:GetObject");
    }
  }
}

async function remove(place: Place, fileName: string, signal: AbortSignal): Promise<void> {
  checkName(fileName);
  const where = { Bucket: place.bucket, Key: fileName, ...place.owner };
  if (!(await headOrAbsent(place, where, signal))) {
    throw new UserError("not-found", `there is no "${fileName}" in ${place.location}`);
  }
  try {
    await retrying(place.retry, signal, () =>
      place.client.send(new DeleteObjectCommand(where), { abortSignal: signal }),
    );
  } catch (error) {
    signal.throwIfAborted();
    throw explain(error, `cannot remove "${fileName}" from ${place.location}`, "s3:DeleteObject");
  }
}

function checkName(fileName: string): void {
  if (!isSnapshotFileName(fileName)) throw new UserError("usage", `"${fileName}" is no name of a snapshot`);
}
