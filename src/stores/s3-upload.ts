/** One multipart upload: all or nothing. The SDK's own `Upload` can report success without an object, and races with its
 *  abort (measured with lib-storage 3.1169), so parts are scheduled here. */
import * as zlib from "node:zlib";
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  ListPartsCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { UserError } from "../base/errors.ts";
import { explain, isStatus, type RetryPolicy, retrying, serviceError } from "./s3-errors.ts";
import type { SaveRequest } from "./store.ts";

/** What stands in the object's metadata, so that an unclear ending can be resolved. */
export const runIdKey = "kaa-run-id";

const MiB = 1024 * 1024;
const partsUnderWay = 3;
/** Bounds of the cleaning up that no signal can interrupt. */
const abortBudgetMs = 15_000;

export interface UploadTarget {
  readonly client: S3Client;
  readonly bucket: string;
  /** `ExpectedBucketOwner`, when configured. */
  readonly owner: { readonly ExpectedBucketOwner?: string };
  readonly retry: RetryPolicy;
}

/** Parts grow so that 10,000 of them reach 5 TiB: 16 MiB up to 31 GiB, then a third more every 1,000 parts. Three parts are
 *  under way at a time and one is being filled, so below 31 GiB at most 64 MiB wait here. */
export function partSizeBytes(partNumber: number): number {
  const step = Math.floor((partNumber - 1) / 1000);
  return step < 2 ? 16 * MiB : Math.ceil(16 * 1.9 ** (step - 1)) * MiB;
}

export interface Uploaded {
  readonly sizeBytes: number;
}

/** Uploads the archive under the request's name and proves that it is there.
 *  @throws UserError; then nothing is stored and no upload is open, or the error is `leftovers`. */
export async function upload(target: UploadTarget, request: SaveRequest): Promise<Uploaded> {
  const key = request.fileName;
  const doing = `cannot store "${key}" in s3://${target.bucket}`;
  const context = { target, request, key, doing, where: { Bucket: target.bucket, Key: key, ...target.owner } };
  const { uploadId, checksum } = await begin(context);
  const run: Run = { ...context, uploadId, checksum };
  try {
    const sent = await sendParts(run);
    request.signal.throwIfAborted();
    await complete(run, sent);
    return { sizeBytes: sent.sizeBytes };
  } catch (error) {
    await abort(run, error);
    request.signal.throwIfAborted();
    throw error instanceof UserError || serviceError(error) === undefined
      ? error
      : explain(error, doing, "s3:PutObject");
  }
}

interface Context {
  readonly target: UploadTarget;
  readonly request: SaveRequest;
  readonly key: string;
  readonly doing: string;
  readonly where: { readonly Bucket: string; readonly Key: string };
}

interface Run extends Context {
  readonly uploadId: string;
  /** Whether the store keeps a CRC-32 of the whole object. */
  readonly checksum: boolean;
}

async function begin({ target, request, where, doing }: Context): Promise<{ uploadId: string; checksum: boolean }> {
  const create = async (checksum: boolean) => {
    const command = new CreateMultipartUploadCommand({
      ...where,
      ContentType: "application/gzip",
      Metadata: { [runIdKey]: request.runId },
      ...(checksum && { ChecksumAlgorithm: "CRC32", ChecksumType: "FULL_OBJECT" }),
    });
    const { UploadId } = await retrying(target.retry, request.signal, () =>
      target.client.send(command, { abortSignal: request.signal }),
    );
    if (UploadId === undefined) throw new UserError("object-store", `${doing}: the store gave no upload id`);
    return { uploadId: UploadId, checksum };
  };
  try {
    return await create(true);
  } catch (error) {
    if (!isStatus(error, 400, 501)) throw explain(error, doing, "s3:PutObject");
    return await create(false).catch((failure: unknown) => {
      throw explain(failure, doing, "s3:PutObject");
    });
  }
}

interface Sent {
  readonly sizeBytes: number;
  readonly crc32: string;
  readonly parts: readonly CompletedPart[];
}

async function sendParts(run: Run): Promise<Sent> {
  const { request } = run;
  const stopping = new AbortController();
  const signal = AbortSignal.any([request.signal, stopping.signal]);
  const parts: CompletedPart[] = [];
  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  let sizeBytes = 0;
  let storedBytes = 0;
  let crc = 0;
  const start = (body: Buffer) => {
    const partNumber = parts.length + 1;
    parts.push({ PartNumber: partNumber });
    const sending = sendPart(run, partNumber, body, signal)
      .then((part) => {
        parts[partNumber - 1] = part;
        storedBytes += body.byteLength;
        request.onProgress?.(storedBytes);
      })
      .catch((error: unknown) => {
        failure ??= { error };
        stopping.abort(error);
      })
      .finally(() => underWay.delete(sending));
    underWay.add(sending);
  };
  try {
    let filling: Uint8Array[] = [];
    let filled = 0;
    for await (const chunk of request.archive) {
      signal.throwIfAborted();
      crc = zlib.crc32(chunk, crc);
      sizeBytes += chunk.byteLength;
      for (let rest = chunk; rest.byteLength > 0; ) {
        const part = rest.subarray(0, partSizeBytes(parts.length + 1) - filled);
        filling.push(part);
        filled += part.byteLength;
        rest = rest.subarray(part.byteLength);
        if (filled < partSizeBytes(parts.length + 1)) continue;
        while (underWay.size >= partsUnderWay) await Promise.race(underWay);
        if (failure !== undefined) throw failure.error;
        start(Buffer.concat(filling, filled));
        filling = [];
        filled = 0;
      }
    }
    if (filled > 0 || parts.length === 0) start(Buffer.concat(filling, filled));
    await Promise.all(underWay);
    if (failure !== undefined) throw failure.error;
    return { sizeBytes, crc32: base64OfCrc(crc), parts };
  } catch (error) {
    stopping.abort(error);
    await Promise.all(underWay); // an abort of the upload counts only when no part is on its way
    throw failure === undefined ? error : failure.error;
  }
}

async function sendPart(run: Run, partNumber: number, body: Buffer, signal: AbortSignal): Promise<CompletedPart> {
  const crc32 = base64OfCrc(zlib.crc32(body));
  const command = new UploadPartCommand({
    ...run.where,
    UploadId: run.uploadId,
    PartNumber: partNumber,
    Body: body,
    ContentLength: body.byteLength,
    ...(run.checksum && { ChecksumCRC32: crc32 }),
  });
  const { ETag } = await retrying(run.target.retry, signal, () =>
    run.target.client.send(command, { abortSignal: signal }),
  );
  if (ETag === undefined || ETag === "")
    throw new UserError("object-store", `${run.doing}: part ${partNumber} got no ETag`);
  return { PartNumber: partNumber, ETag, ...(run.checksum && { ChecksumCRC32: crc32 }) };
}

/** Asks for the object, then believes only what HEAD says: answers get lost, and some say 200 with an error inside. */
async function complete(run: Run, sent: Sent): Promise<void> {
  const command = new CompleteMultipartUploadCommand({
    ...run.where,
    UploadId: run.uploadId,
    IfNoneMatch: "*",
    MultipartUpload: { Parts: [...sent.parts] },
    ...(run.checksum && { ChecksumCRC32: sent.crc32, ChecksumType: "FULL_OBJECT", MpuObjectSize: sent.sizeBytes }),
  });
  let answer: unknown;
  try {
    // From here on a signal would leave the ending unclear: it is heeded after HEAD has answered.
    await retrying(run.target.retry, new AbortController().signal, () => run.target.client.send(command));
  } catch (error) {
    answer = error;
  }
  const head = await headObject(run);
  if (head?.Metadata?.[runIdKey] === run.request.runId) {
    if (head.ContentLength === sent.sizeBytes && (!run.checksum || isChecksum(head, sent.crc32))) return;
    await run.target.client.send(new DeleteObjectCommand(run.where)); // ours, and not what we sent
    throw new UserError("object-store", `${run.doing}: the stored object is not what was sent`);
  }
  if (head !== undefined)
    throw new UserError("busy", `a snapshot "${run.key}" exists already in s3://${run.target.bucket}`, {
      cause: answer,
    });
  if (answer !== undefined) throw explain(answer, run.doing, "s3:PutObject");
  throw new UserError("object-store", `${run.doing}: the store reported success, yet there is no object`);
}

/** Stores without full-object checksums answer with none, or with one "of checksums" that ends in -N. */
function isChecksum(head: HeadObjectCommandOutput, crc32: string): boolean {
  const stored = head.ChecksumCRC32;
  return stored === undefined || stored.includes("-") || stored === crc32;
}

async function headObject(run: Run): Promise<HeadObjectCommandOutput | undefined> {
  try {
    return await retrying(run.target.retry, new AbortController().signal, () =>
      run.target.client.send(new HeadObjectCommand({ ...run.where, ChecksumMode: "ENABLED" })),
    );
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw explain(error, `${run.doing}: cannot tell whether it is there`, "s3:GetObject");
  }
}

/** Repeats the abort until the store knows the upload no more: a part that was on its way may land after the first. */
async function abort(run: Run, cause: unknown): Promise<void> {
  const deadline = Date.now() + abortBudgetMs;
  const upload = { ...run.where, UploadId: run.uploadId };
  let last: unknown;
  for (let waitMs = 100; Date.now() < deadline; waitMs = Math.min(waitMs * 2, 2000)) {
    try {
      const abortSignal = AbortSignal.timeout(Math.max(1, deadline - Date.now()));
      await run.target.client.send(new AbortMultipartUploadCommand(upload), { abortSignal }).catch((error: unknown) => {
        if (!isStatus(error, 404)) throw error;
      });
      const { Parts } = await run.target.client.send(new ListPartsCommand(upload), { abortSignal });
      last = new Error(`${Parts?.length ?? 0} parts are left`);
    } catch (error) {
      if (isStatus(error, 404)) return;
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  throw new UserError("leftovers", `${run.doing}, and the upload could not be aborted`, {
    cause: new AggregateError([cause, last]),
    hints: [
      `aws s3api abort-multipart-upload --bucket ${run.target.bucket} --key ${run.key} --upload-id ${run.uploadId}`,
    ],
  });
}

function base64OfCrc(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString("base64");
}
