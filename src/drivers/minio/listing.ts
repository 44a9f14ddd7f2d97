/** What a bucket holds, version by version. */
import {
  DeleteObjectsCommand,
  ListBucketsCommand,
  ListObjectVersionsCommand,
  type _Error as ObjectError,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import type { Server } from "./server.ts";

/** One version of an object, or the mark of its deletion. */
export interface Version {
  readonly key: string;
  readonly versionId: string;
  readonly isDeleteMarker: boolean;
  readonly isLatest: boolean;
  readonly sizeBytes: number;
  readonly etag: string;
  /** Milliseconds since 1970. */
  readonly modifiedAt: number;
}

export async function bucketNames({ client, signal }: Server): Promise<readonly string[]> {
  const { Buckets = [] } = await client.send(new ListBucketsCommand({}), { abortSignal: signal });
  return Buckets.map(({ Name = "" }) => Name).sort();
}

/** All versions of a bucket: by key, and the versions of a key from the oldest to the newest. Holds one page and the
 *  versions of one key in memory. */
export async function* versionsOf(server: Server, bucket: string): AsyncGenerator<Version> {
  let ofKey: Version[] = [];
  for await (const version of newestFirst(server, bucket)) {
    if (ofKey[0] !== undefined && ofKey[0].key !== version.key) {
      yield* oldestFirst(ofKey);
      ofKey = [];
    }
    ofKey.push(version);
  }
  yield* oldestFirst(ofKey);
}

/** Dates decide; where they are equal the listing's own order does, and the latest is always last. */
function oldestFirst(versions: readonly Version[]): readonly Version[] {
  return versions.toReversed().sort((a, b) => Number(a.isLatest) - Number(b.isLatest) || a.modifiedAt - b.modifiedAt);
}

async function* newestFirst({ client, signal }: Server, bucket: string): AsyncGenerator<Version> {
  let from: { readonly KeyMarker?: string | undefined; readonly VersionIdMarker?: string | undefined } = {};
  while (true) {
    const page = await client.send(new ListObjectVersionsCommand({ Bucket: bucket, EncodingType: "url", ...from }), {
      abortSignal: signal,
    });
    const versions = [
      ...(page.Versions ?? []).map((each) => ({ ...each, isDeleteMarker: false })),
      ...(page.DeleteMarkers ?? []).map((each) => ({ ...each, isDeleteMarker: true, Size: 0, ETag: "" })),
    ].map((each) => ({
      key: decoded(each.Key ?? ""),
      versionId: each.VersionId ?? "null",
      isDeleteMarker: each.isDeleteMarker,
      isLatest: each.IsLatest ?? true,
      sizeBytes: each.Size ?? 0,
      etag: each.ETag ?? "",
      modifiedAt: each.LastModified?.getTime() ?? 0,
    }));
    versions.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
    yield* versions;
    if (page.IsTruncated !== true) return;
    const [keyMarker, versionIdMarker] = [decoded(page.NextKeyMarker ?? ""), page.NextVersionIdMarker];
    if (keyMarker === from.KeyMarker && versionIdMarker === from.VersionIdMarker)
      throw new Error(`the listing of bucket "${bucket}" does not go on`);
    from = { KeyMarker: keyMarker, VersionIdMarker: versionIdMarker };
  }
}

function decoded(text: string): string {
  return decodeURIComponent(text.replaceAll("+", "%20"));
}

const deletedAtOnce = 1000;

/** A version that the server would not delete. */
export interface Locked {
  readonly key: string;
  readonly etag: string;
  /** For people: what, and why. */
  readonly says: string;
}

/** The locked versions that a bucket could not be emptied of. */
export class Leftovers {
  readonly #byKey = new Map<string, Locked[]>();
  readonly #wanted = new Set<Locked>();
  #lastKey: string | undefined;

  constructor(locked: readonly Locked[]) {
    for (const each of locked) {
      const ofKey = this.#byKey.get(each.key);
      if (ofKey === undefined) this.#byKey.set(each.key, [each]);
      else ofKey.push(each);
    }
  }

  /** Whether a version of the snapshot needs not be put back, because it is what was left: only where its place is right,
   *  too, which is below everything that is put. Must be asked for every version, in the snapshot's order. */
  isThere({ key, etag }: { readonly key: string; readonly etag?: string }): boolean {
    const isOldest = key !== this.#lastKey;
    this.#lastKey = key;
    const [only, ...others] = this.#byKey.get(key) ?? [];
    if (!isOldest || only === undefined || others.length > 0 || only.etag !== etag) return false;
    this.#wanted.add(only);
    return true;
  }

  /** Those that the snapshot does not have there. */
  unwanted(): readonly Locked[] {
    return [...this.#byKey.values()].flat().filter((each) => !this.#wanted.has(each));
  }
}

/** MinIO answers InvalidRequest, "Object is WORM protected and cannot be overwritten" (cmd/api-errors.go); Amazon's S3
 *  AccessDenied, "Access Denied because object protected by object lock." */
function isLockRefusal({ Code = "", Message = "" }: ObjectError): boolean {
  return ["InvalidRequest", "AccessDenied"].includes(Code) && /WORM protected|object lock/i.test(Message);
}

/** Deletes every version of a bucket.
 *  @returns those that are locked.
 *  @throws S3ServiceException when one is not deleted for any other reason. */
export async function emptyBucket(server: Server, bucket: string): Promise<readonly Locked[]> {
  const { client, signal } = server;
  const locked: Locked[] = [];
  let batch: Version[] = [];
  const flush = async () => {
    if (batch.length === 0) return;
    const Objects = batch.map(({ key, versionId }) => ({ Key: key, VersionId: versionId }));
    const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } });
    const { Errors = [] } = await client.send(command, { abortSignal: signal });
    for (const refused of Errors) {
      const { Key = "", VersionId, Message, Code = "InternalError" } = refused;
      const says = `${bucket}/${Key} (${VersionId}): ${Message ?? Code}`;
      if (!isLockRefusal(refused))
        throw new S3ServiceException({ name: Code, message: `cannot delete ${says}`, $fault: "server", $metadata: {} });
      const etag = batch.find(({ key, versionId }) => key === Key && versionId === VersionId)?.etag ?? "";
      locked.push({ key: Key, etag, says });
    }
    batch = [];
  };
  for await (const version of newestFirst(server, bucket)) {
    batch.push(version);
    if (batch.length === deletedAtOnce) await flush();
  }
  await flush();
  return locked;
}
