/** What we know of one upload, and what a store says about one object. */
import { HeadObjectCommand } from "@aws-sdk/client-s3";
import type { S3Connection } from "./s3-client.ts";
import { isStatus, notFromS3 } from "./s3-errors.ts";

/** Name of the metadata that says whose an object is, so that an unclear ending can be resolved. */
export const runIdKey = "kaa-run-id";

/** An open multipart upload. */
export interface Upload {
  readonly key: string;
  readonly id: string;
  readonly runId: string;
  /** What the store checks and keeps: a checksum of the whole object, of each part, or nothing. */
  readonly checksums: "object" | "parts" | "none";
  /** For messages: `cannot store "x.tar.gz" in s3://bucket`. */
  readonly doing: string;
}

export interface StoredObject {
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
  readonly etag: string;
  /** Undefined in buckets without versions. */
  readonly versionId: string | undefined;
  readonly runId: string | undefined;
  /** Base64; of the whole object, or of the parts' checksums and then ending in `-<parts>`. */
  readonly crc32: string | undefined;
  /** "GLACIER" and the like when the object cannot be read as it is. */
  readonly archivedAs: string | undefined;
}

/** @returns undefined when there is no such object, or no such bucket: the answer to HEAD does not tell them apart. */
export async function lookUp(
  connection: S3Connection,
  key: string,
  how: { readonly doing: string; readonly signal: AbortSignal; readonly budgetMs?: number },
): Promise<StoredObject | undefined> {
  const command = new HeadObjectCommand({ ...connection.bucket, Key: key, ChecksumMode: "ENABLED" });
  try {
    const call = { ...how, permission: "s3:GetObject (and s3:ListBucket)" };
    const head = await connection.call(call, async (client, options) => {
      const answer = await client.send(command, options);
      if (!answer.ETag || answer.ContentLength === undefined) throw notFromS3();
      return { ...answer, etag: answer.ETag, sizeBytes: answer.ContentLength };
    });
    const archivedAs = head.ArchiveStatus ?? (/^(GLACIER|DEEP_ARCHIVE)$/.exec(head.StorageClass ?? "") ?? [])[0];
    const restored = /ongoing-request="false"/.test(head.Restore ?? "");
    return {
      sizeBytes: head.sizeBytes,
      modifiedAt: head.LastModified ?? new Date(0),
      etag: head.etag,
      versionId: head.VersionId === "null" ? undefined : head.VersionId,
      runId: head.Metadata?.[runIdKey],
      crc32: head.ChecksumCRC32,
      archivedAs: restored ? undefined : archivedAs,
    };
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
