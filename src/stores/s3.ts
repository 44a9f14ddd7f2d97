/** An S3 bucket as a store, snapshots at its root. With `s3-*.ts` the only code that knows the S3 library. */
import { DeleteObjectCommand, ListObjectsV2Command, type ListObjectsV2CommandOutput } from "@aws-sdk/client-s3";
import { UserError } from "../base/errors.ts";
import { abortAbandoned } from "./s3-abort.ts";
import { checkBucket, listBucketNames, prepareBucket } from "./s3-bucket.ts";
import { S3Connection, type S3Options } from "./s3-client.ts";
import { notFromS3 } from "./s3-errors.ts";
import { lookUp } from "./s3-object.ts";
import { Pages } from "./s3-pages.ts";
import { openObject } from "./s3-read.ts";
import { saveObject } from "./s3-upload.ts";
import { isSnapshotFileName, requireSnapshotFileName, type Store, type StoredFile } from "./store.ts";

export type { S3Credentials, S3Options } from "./s3-client.ts";

/** Contacts nothing yet.
 *  @throws UserError `usage` for a name that no bucket can have, or an endpoint that is no URL. */
export function s3Store(options: S3Options): Store {
  requireBucketName(options.bucket);
  requireEndpoint(options);
  const connection = new S3Connection(options);
  return {
    location: connection.location,
    prepare: (signal) => prepareBucket(connection, signal),
    check: (signal) => checkBucket(connection, signal),
    save: (request) => saveObject(connection, request),
    discardUnfinished: (fileName, signal) => abortAbandoned(connection, fileName, signal),
    list: (signal) => list(connection, signal),
    open: (fileName, signal) => openObject(connection, fileName, signal),
    remove: (fileName, signal) => remove(connection, fileName, signal),
    clockAheadMs: () => connection.clockAheadMs,
  };
}

/** Names of the buckets with this beginning that the credentials may see. */
export function s3Buckets(
  prefix: string,
  options: Omit<S3Options, "bucket">,
  signal: AbortSignal,
): AsyncIterable<string> {
  requireEndpoint(options);
  return listBucketNames(new S3Connection({ ...options, bucket: "" }), prefix, signal);
}

/** Source: Amazon S3 user guide, "General purpose bucket naming rules". */
function requireBucketName(bucket: string): void {
  if (/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) && !bucket.includes("..")) return;
  const rule = "3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit at both ends";
  throw new UserError("usage", `"${bucket.slice(0, 100)}" cannot be a bucket's name: ${rule}`);
}

function requireEndpoint({ endpoint, note }: Omit<S3Options, "bucket">): void {
  if (endpoint === undefined) return;
  const url = URL.parse(endpoint);
  if (url?.protocol !== "https:" && url?.protocol !== "http:") {
    const shown = endpoint.includes("@") ? "what is given" : `"${endpoint}"`; // "user:password@host" is no URL
    throw new UserError("usage", `${shown} is not the URL of an S3 store: expected https://host`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new UserError("usage", `the URL of the S3 store at "${url.host}" must not contain credentials`);
  }
  if (url.protocol === "http:") note?.(`"${url.host}" is reached without TLS: who sits in between can read snapshots`);
}

async function* list(connection: S3Connection, signal: AbortSignal): AsyncGenerator<StoredFile> {
  const call = { doing: `cannot list ${connection.location}`, permission: "s3:ListBucket", signal };
  const pages = new Pages();
  let token: string | undefined;
  do {
    const command = new ListObjectsV2Command({
      ...connection.bucket,
      // One line for each folder, such as Open Distro's, instead of all its objects.
      Delimiter: "/",
      // Somebody else's key may hold characters that XML cannot. Ours look the same in this form.
      EncodingType: "url",
      ...(token !== undefined && { ContinuationToken: token }),
    });
    const page = await connection.call(call, async (client, options) => {
      const answer: ListObjectsV2CommandOutput = await client.send(command, options);
      if (answer.IsTruncated === undefined) throw notFromS3();
      return answer;
    });
    const first = page.Contents?.[0]?.Key ?? page.CommonPrefixes?.[0]?.Prefix;
    token = page.IsTruncated === true ? page.NextContinuationToken || undefined : undefined;
    if (pages.isRepeated({ first, next: token }) || (page.IsTruncated === true && token === undefined)) {
      throw new UserError(
        "object-store",
        `${call.doing}: ${connection.endpoint} repeats its pages or loses the next one`,
      );
    }
    for (const { Key, Size, LastModified } of page.Contents ?? []) {
      if (Key === undefined || !isSnapshotFileName(Key)) continue;
      yield { fileName: Key, sizeBytes: Size ?? 0, modifiedAt: LastModified ?? new Date(0) };
    }
  } while (token !== undefined);
}

async function remove(connection: S3Connection, fileName: string, signal: AbortSignal): Promise<void> {
  requireSnapshotFileName(fileName);
  const doing = `cannot remove "${fileName}" from ${connection.location}`;
  if ((await lookUp(connection, fileName, { doing, signal })) === undefined) {
    throw new UserError("not-found", `no file "${fileName}" in ${connection.location}`);
  }
  const command = new DeleteObjectCommand({ ...connection.bucket, Key: fileName });
  await connection.call({ doing, permission: "s3:DeleteObject", signal }, (client, options) =>
    client.send(command, options),
  );
}
