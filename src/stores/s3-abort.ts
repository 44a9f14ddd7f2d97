/** Leaves nothing behind: ends uploads until the store knows them no more, and removes an object that must not stay. */
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  ListPartsCommand,
} from "@aws-sdk/client-s3";
import { messageOf, UserError } from "../base/errors.ts";
import type { S3Connection } from "./s3-client.ts";
import { isStatus } from "./s3-errors.ts";
import { lookUp, type Upload } from "./s3-object.ts";
import { Pages } from "./s3-pages.ts";

/** Undoes an upload, within `timing.cleanupMs`, whatever the caller's signal says.
 *  @throws UserError `leftovers`, with the cause and the commands to run, when it cannot prove that nothing is left. */
export async function discard(
  connection: S3Connection,
  upload: Upload,
  { mayBePublished, cause }: { readonly mayBePublished: boolean; readonly cause: unknown },
): Promise<void> {
  await withinBound(connection, async (signal) => {
    const left: string[] = [];
    const { Bucket } = connection.bucket;
    const names = `--bucket ${Bucket} --key ${upload.key}`;
    if ((await abortUntilGone(connection, upload, signal)) !== "gone") {
      left.push(`aws s3api abort-multipart-upload ${names} --upload-id ${upload.id}`);
    }
    if (mayBePublished && !(await removeIfOurs(connection, upload, signal))) {
      left.push(`aws s3api delete-object ${names}`);
    }
    if (left.length === 0) return;
    throw new UserError("leftovers", `${messageOf(cause)}; and it could not be undone (upload id ${upload.id})`, {
      cause,
      effect: "no snapshot was published, or an incomplete one; earlier snapshots are unchanged",
      hints: left.map((command) => `run: ${command}`),
    });
  });
}

/** Aborts until ListParts knows no such upload: a part that was on its way may land after the first abort (AWS API
 *  reference, AbortMultipartUpload).
 *  @returns "unclear" when that could not be shown before `signal` fired. */
export async function abortUntilGone(
  connection: S3Connection,
  upload: { readonly key: string; readonly id: string },
  signal: AbortSignal,
): Promise<"gone" | "denied" | "unclear"> {
  const where = { ...connection.bucket, Key: upload.key, UploadId: upload.id };
  const doing = `cannot end an upload of "${upload.key}"`;
  const call = { doing, signal, budgetMs: 0, attemptMs: connection.timing.cleanupMs / 3 };
  const patience = connection.patience(connection.timing.cleanupMs);
  let aborts = 0;
  try {
    while (true) {
      const aborted = await connection
        .call({ ...call, permission: "s3:AbortMultipartUpload" }, (client, options) =>
          client.send(new AbortMultipartUploadCommand(where), options),
        )
        .then(() => "done" as const, reasonToGoOn);
      if (aborted === "denied") return "denied";
      if (aborted !== "failed") aborts++;
      const listed = await connection
        .call({ ...call, permission: "s3:ListMultipartUploadParts" }, (client, options) =>
          client.send(new ListPartsCommand(where), options),
        )
        .then(() => "there" as const, reasonToGoOn);
      if (listed === "absent") return "gone";
      // Who may not look can still repeat the abort, which then finds nothing, or nothing new.
      if (listed === "denied" && (aborted === "absent" || aborts >= 2)) return "gone";
      if (!(await patience.pause(signal))) return "unclear";
    }
  } catch (error) {
    if (signal.aborted) return "unclear";
    throw error;
  }

  function reasonToGoOn(error: unknown): "absent" | "denied" | "failed" {
    if (isStatus(error, 404)) return "absent";
    if (isStatus(error, 401, 403, 405, 501)) return "denied";
    if (error instanceof UserError) return "failed";
    throw error;
  }
}

/** Ends uploads of our name whose id we never learned, because the answer to CreateMultipartUpload was lost. A name belongs
 *  to one run, so they are ours. Best effort: they hold no data, and the next run's `prepare` sees them again. */
export async function abortOtherUploads(
  connection: S3Connection,
  key: string,
  knownId: string | undefined,
): Promise<void> {
  await withinBound(connection, async (signal) => {
    try {
      for await (const upload of listUploads(connection, key, signal)) {
        if (upload.key === key && upload.id !== knownId) await abortUntilGone(connection, upload, signal);
      }
    } catch (error) {
      if (!(error instanceof UserError) && !signal.aborted) throw error;
      connection.note(`an upload of "${key}" without data may be left in ${connection.location}: ${messageOf(error)}`);
    }
  });
}

/** Ends all uploads of a name, whoever began them. */
export async function abortAbandoned(connection: S3Connection, key: string, signal: AbortSignal): Promise<void> {
  for await (const upload of listUploads(connection, key, signal)) {
    if (upload.key !== key) continue;
    const ended = await withinBound(connection, (bound) => abortUntilGone(connection, upload, bound));
    const what = `an upload of "${key}" that a killed run has left open (id ${upload.id})`;
    connection.note(`${ended === "gone" ? "ended" : "could not end"} ${what}`);
  }
}

/** Open uploads whose key begins with `prefix`. */
export async function* listUploads(
  connection: S3Connection,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<{ readonly key: string; readonly id: string; readonly startedAt: Date | undefined }> {
  const permission = "s3:ListBucketMultipartUploads";
  const call = { doing: `cannot list open uploads in ${connection.location}`, permission, signal };
  const pages = new Pages();
  let next: { readonly KeyMarker: string; readonly UploadIdMarker?: string } | undefined;
  do {
    const command = new ListMultipartUploadsCommand({ ...connection.bucket, ...next, Prefix: prefix });
    const page: ListMultipartUploadsCommandOutput = await connection.call(call, (client, options) =>
      client.send(command, options),
    );
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      if (Key !== undefined && UploadId !== undefined) yield { key: Key, id: UploadId, startedAt: Initiated };
    }
    const { IsTruncated, NextKeyMarker, NextUploadIdMarker } = page;
    const first = page.Uploads?.[0] && JSON.stringify([page.Uploads[0].Key, page.Uploads[0].UploadId]);
    const isRepeated = pages.isRepeated({ first, next: JSON.stringify([NextKeyMarker, NextUploadIdMarker]) });
    next =
      IsTruncated === true && NextKeyMarker !== undefined && !isRepeated
        ? { KeyMarker: NextKeyMarker, ...(NextUploadIdMarker && { UploadIdMarker: NextUploadIdMarker }) }
        : undefined;
  } while (next !== undefined);
}

/** @returns false when it could not be shown that no object of this run has the name. */
async function removeIfOurs(connection: S3Connection, upload: Upload, signal: AbortSignal): Promise<boolean> {
  const doing = `cannot remove "${upload.key}"`;
  try {
    // Where versions are kept, another of ours may come to light.
    for (let round = 0; round < 3; round++) {
      const found = await lookUp(connection, upload.key, { doing, signal });
      if (found?.runId !== upload.runId) return true;
      const version = found.versionId === undefined ? {} : { VersionId: found.versionId };
      const command = new DeleteObjectCommand({ ...connection.bucket, Key: upload.key, ...version });
      const permission = found.versionId === undefined ? "s3:DeleteObject" : "s3:DeleteObjectVersion";
      await connection.call({ doing, permission, signal }, (client, options) => client.send(command, options));
    }
    return (await lookUp(connection, upload.key, { doing, signal }))?.runId !== upload.runId;
  } catch (error) {
    if (error instanceof UserError || signal.aborted) return false;
    throw error;
  }
}

/** Runs with a signal of its own that fires after `timing.cleanupMs`. */
export async function withinBound<T>(connection: S3Connection, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const bound = new AbortController();
  const timer = setTimeout(() => bound.abort(new Error("cleaning up took too long")), connection.timing.cleanupMs);
  try {
    return await work(bound.signal);
  } finally {
    clearTimeout(timer);
  }
}
