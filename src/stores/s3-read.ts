/** Reads an object, pinned by its ETag and version: an object that takes its name later is never mixed in. */
import type { Readable } from "node:stream";
import { GetObjectCommand } from "@aws-sdk/client-s3";
import type { Bytes } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { S3Connection } from "./s3-client.ts";
import { explain, isStatus } from "./s3-errors.ts";
import { lookUp } from "./s3-object.ts";
import { ArchivedFileError, type OpenFile, requireRange, requireSnapshotFileName } from "./store.ts";

interface Pinned {
  readonly connection: S3Connection;
  readonly key: string;
  readonly sizeBytes: number;
  readonly etag: string;
  readonly versionId: string | undefined;
  readonly doing: string;
}

/** The contract of `Store.open`, for a bucket. */
export async function openObject(connection: S3Connection, fileName: string, signal: AbortSignal): Promise<OpenFile> {
  requireSnapshotFileName(fileName);
  const doing = `cannot read "${fileName}" in ${connection.location}`;
  const found = await lookUp(connection, fileName, { doing, signal });
  if (found === undefined) throw new UserError("not-found", `no file "${fileName}" in ${connection.location}`);
  if (found.archivedAs !== undefined) {
    const names = `--bucket ${connection.options.bucket} --key ${fileName}`;
    throw new ArchivedFileError(`${doing}: it is archived (${found.archivedAs}) and must be restored first`, {
      hints: [`run: aws s3api restore-object ${names} --restore-request Days=7`],
    });
  }
  const { sizeBytes, etag, versionId } = found;
  const pinned: Pinned = { connection, key: fileName, sizeBytes, etag, versionId, doing };
  return {
    fileName,
    sizeBytes,
    read(offset, lengthBytes, readSignal) {
      requireRange(pinned, offset, lengthBytes);
      return readRange(pinned, { offset, end: offset + lengthBytes, signal: readSignal });
    },
    close: async () => undefined,
  };
}

/** Asks again from where it stopped whenever a connection breaks or ends early, until `transferBudgetMs` have gone by
 *  without a byte. */
async function* readRange(
  pinned: Pinned,
  range: { readonly offset: number; readonly end: number; readonly signal: AbortSignal },
): Bytes {
  const { connection, doing } = pinned;
  const { end, signal } = range;
  const patience = connection.patience(connection.timing.transferBudgetMs);
  let position = range.offset;
  while (position < end) {
    const body = await openBody(pinned, { position, end, signal });
    let failure: unknown = new Error(`the answer ended at ${position} of ${end} bytes`);
    const chunks = body[Symbol.asyncIterator]();
    try {
      while (position < end) {
        const chunk = await nextChunk(connection, body, chunks, signal);
        if (chunk === undefined) break;
        const wanted = chunk.subarray(0, end - position);
        position += wanted.byteLength;
        yield wanted;
        patience.renew(); // only now: what the consumer takes is not the store's time
      }
    } catch (error) {
      failure = error;
    } finally {
      // Closes the connection when the answer has more than is wanted.
      body.destroy();
    }
    signal.throwIfAborted();
    if (position < end && !(await patience.pause(signal))) {
      throw explain(failure, { doing, permission: "s3:GetObject" }, connection.endpoint);
    }
  }
}

/** The next bytes, or undefined at the end. A connection that brings nothing for `timing.idleMs` is given up; the time that
 *  our own consumer takes does not count. */
async function nextChunk(
  connection: S3Connection,
  body: Readable,
  chunks: AsyncIterator<Buffer>,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const { idleMs } = connection.timing;
  const giveUp = () => body.destroy(Object.assign(new Error(`no data for ${idleMs} ms`), { name: "TimeoutError" }));
  const stop = () => body.destroy(new Error("stopped"));
  signal.throwIfAborted();
  const timer = setTimeout(giveUp, idleMs);
  signal.addEventListener("abort", stop, { once: true });
  try {
    const next = await chunks.next();
    return next.done === true ? undefined : next.value;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

async function openBody(
  pinned: Pinned,
  range: { readonly position: number; readonly end: number; readonly signal: AbortSignal },
): Promise<Readable> {
  const { connection, doing } = pinned;
  const { position, end, signal } = range;
  const command = new GetObjectCommand({
    ...connection.bucket,
    Key: pinned.key,
    IfMatch: pinned.etag,
    Range: `bytes=${position}-${end - 1}`,
    ...(pinned.versionId !== undefined && { VersionId: pinned.versionId }),
  });
  const { transferBudgetMs, idleMs } = connection.timing;
  const call = {
    doing,
    permission: "s3:GetObject",
    signal,
    budgetMs: transferBudgetMs,
    attemptMs: idleMs,
    patient: true,
  };
  try {
    const answer = await connection.call(call, (client, options) => client.send(command, options));
    // On Node and Bun the SDK answers with a Readable.
    const body = answer.Body as Readable;
    const problem = problemOf(answer);
    if (problem === undefined) return body;
    body.destroy();
    throw new UserError("object-store", `${doing}: ${problem}`);
  } catch (error) {
    if (!isStatus(error, 404, 412)) throw error;
    throw new UserError("object-store", `${doing}: it was changed or removed while being read`, { cause: error });
  }

  function problemOf(answer: { readonly ContentRange?: string | undefined; readonly ETag?: string | undefined }) {
    const everything = position === 0 && end === pinned.sizeBytes;
    const asked = `bytes ${position}-${end - 1}/${pinned.sizeBytes}`;
    if (answer.ContentRange === undefined && !everything) return "the store ignores the range that was asked for";
    if (answer.ContentRange !== undefined && answer.ContentRange !== asked) {
      return `the store answered with "${answer.ContentRange}" instead of "${asked}"`;
    }
    return answer.ETag === pinned.etag ? undefined : "it was changed while being read";
  }
}
