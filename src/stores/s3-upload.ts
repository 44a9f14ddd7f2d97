/** One archive into one object, all or nothing. The SDK's own `Upload` can report success without an object and races with
 *  its abort (measured with lib-storage 3.1169), so parts, completion and abort are ours.
 *
 *  Archives of any size go through a multipart upload, also those smaller than a part: only Complete publishes, and after
 *  an abort that ListParts confirms nothing can appear any more. A single PUT whose connection broke has no such end. */
import { CreateMultipartUploadCommand, type CreateMultipartUploadCommandInput } from "@aws-sdk/client-s3";
import { isOutcome } from "../base/errors.ts";
import { abortOtherUploads, discard } from "./s3-abort.ts";
import type { S3Connection } from "./s3-client.ts";
import { failureOf, isStatus, isUnclear, notFromS3, type S3Failure } from "./s3-errors.ts";
import { lookUp, runIdKey, type Upload } from "./s3-object.ts";
import { sendParts } from "./s3-parts.ts";
import { nameTaken, publish } from "./s3-publish.ts";
import { requireSnapshotFileName, type SaveRequest, type StoredFile } from "./store.ts";

/** The contract of `Store.save`, for a bucket. */
export async function saveObject(connection: S3Connection, request: SaveRequest): Promise<StoredFile> {
  const { fileName, runId, signal } = request;
  requireSnapshotFileName(fileName);
  signal.throwIfAborted();
  const doing = `cannot store "${fileName}" in ${connection.location}`;
  const refuseIfTaken = async (budgetMs: number) => {
    if ((await lookUp(connection, fileName, { doing, signal, budgetMs })) !== undefined) throw nameTaken(doing);
  };
  await refuseIfTaken(connection.timing.requestBudgetMs);
  const upload = await createUpload(connection, { key: fileName, runId, doing, signal });
  let mayBePublished = false;
  try {
    const sent = await sendParts(connection, upload, request);
    // Once more, for stores that ignore If-None-Match.
    await refuseIfTaken(connection.timing.transferBudgetMs);
    await request.beforePublish?.();
    mayBePublished = true;
    const stored = await publish(connection, upload, sent);
    signal.throwIfAborted();
    return { fileName, sizeBytes: stored.sizeBytes, modifiedAt: stored.modifiedAt };
  } catch (error) {
    await discard(connection, upload, { mayBePublished, cause: error });
    throw error;
  }
}

/** Asks for the best checksums first: not every store takes the headers for them.
 *
 *  `signal` does not cut off a request that is under way: a store that does it late would then have an upload open that no
 *  listing has shown yet. So this may return after `signal` has fired, and the caller must end the upload in any case. */
export async function createUpload(
  connection: S3Connection,
  request: { readonly key: string; readonly runId: string; readonly doing: string; readonly signal: AbortSignal },
): Promise<Upload> {
  const { key, runId, doing } = request;
  request.signal.throwIfAborted();
  const { signal, release } = firingLater(request.signal, connection.timing.cleanupMs / 5);
  let answerLost = false;
  const onRetry = (failure: S3Failure) => {
    answerLost ||= isUnclear(failure);
  };
  const create = async (checksums: Partial<CreateMultipartUploadCommandInput>) => {
    const metadata = { ContentType: "application/gzip", Metadata: { [runIdKey]: runId } };
    const command = new CreateMultipartUploadCommand({ ...connection.bucket, Key: key, ...metadata, ...checksums });
    const call = { doing, permission: "s3:PutObject", signal, onRetry };
    return await connection.call(call, async (client, options) => {
      const { UploadId, ChecksumType, ChecksumAlgorithm } = await client.send(command, options);
      if (!UploadId) throw notFromS3();
      return { id: UploadId, type: ChecksumType, algorithm: ChecksumAlgorithm };
    });
  };
  try {
    const { id, type, algorithm } = await create({ ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT" })
      .catch((error: unknown) => create(unlessRefused(error, { ChecksumAlgorithm: "CRC32" })))
      .catch((error: unknown) => create(unlessRefused(error, {})));
    const checksums = type === "FULL_OBJECT" ? "object" : algorithm === undefined ? "none" : "parts";
    if (answerLost) await abortOtherUploads(connection, key, id);
    return { key, id, runId, checksums, doing };
  } catch (error) {
    const failure = failureOf(error);
    const mayBeOpen = answerLost || signal.aborted || (failure !== undefined && isUnclear(failure));
    if (mayBeOpen) await abortOtherUploads(connection, key, undefined);
    throw error;
  } finally {
    release();
  }
}

/** A signal that fires so long after the other, with its reason. The caller must `release()` it. */
function firingLater(first: AbortSignal, delayMs: number): { readonly signal: AbortSignal; release(): void } {
  const later = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onAbort = () => {
    timer = setTimeout(() => later.abort(first.reason), delayMs);
  };
  first.addEventListener("abort", onAbort, { once: true });
  return {
    signal: later.signal,
    release() {
      clearTimeout(timer);
      first.removeEventListener("abort", onAbort);
    },
  };
}

function unlessRefused<T>(error: unknown, next: T): T {
  const aboutCredentials = isOutcome(error, "credentials");
  if (aboutCredentials || !isStatus(error, 400, 501)) throw error;
  return next;
}
