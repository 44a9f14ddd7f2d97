/** The end of an upload. Answers to Complete get lost, come as 200 with an error inside, or are a proxy's page; so the
 *  answer only says whether to ask again. Success is what HEAD says: our run id, our size, our checksum. */
import { CompleteMultipartUploadCommand } from "@aws-sdk/client-s3";
import { UserError } from "../base/errors.ts";
import type { S3Connection } from "./s3-client.ts";
import { failureOf, isTransient, notFromS3, outOfTime } from "./s3-errors.ts";
import { lookUp, type StoredObject, type Upload } from "./s3-object.ts";
import type { SentParts } from "./s3-parts.ts";

/** Looks for an object that the store says it has just made. */
const looks = 4;

/** Publishes what was sent, and proves it. No signal stops this: the ending would be unclear.
 *  @throws UserError `busy` when another object has the name, `deadline` when the store does not answer in time. */
export async function publish(connection: S3Connection, upload: Upload, sent: SentParts): Promise<StoredObject> {
  const { signal } = new AbortController();
  // As long as a part is tried again: a whole archive is at stake.
  const budgetMs = connection.timing.transferBudgetMs;
  const patience = connection.patience(budgetMs);
  const head = () => lookUp(connection, upload.key, { doing: upload.doing, signal, budgetMs });
  let conditional = true;
  while (true) {
    const refusal = await complete(connection, upload, { sent, conditional, signal });
    const found = await head();
    if (found !== undefined) return requireOurs(found, upload, sent);
    if (refusal === undefined) return await lookAgain();
    if (conditional && failureOf(refusal)?.status === 501) {
      connection.note(`${connection.endpoint} has no conditional writes: it was only looked whether the name is free`);
      conditional = false;
      continue;
    }
    const failure = failureOf(refusal);
    const mayRepeat = failure !== undefined && isTransient(failure) && (await patience.pause(signal));
    if (!mayRepeat) throw failure?.code === outOfTime ? tooSlow(refusal) : refusal;
  }

  /** Old releases of some stores show a new object only after a moment. */
  async function lookAgain(): Promise<StoredObject> {
    for (let look = 1; look < looks; look++) {
      await connection.clock.sleep(connection.timing.firstPauseMs * look, signal);
      const found = await head();
      if (found !== undefined) return requireOurs(found, upload, sent);
    }
    throw new UserError("object-store", `${upload.doing}: the store reported success, yet there is no such object`);
  }

  function tooSlow(refusal: UserError): UserError {
    return new UserError("deadline", refusal.message, { cause: refusal.cause });
  }
}

/** @returns the refusal, or undefined when the store says that the object was made. */
async function complete(
  connection: S3Connection,
  upload: Upload,
  how: { readonly sent: SentParts; readonly conditional: boolean; readonly signal: AbortSignal },
): Promise<UserError | undefined> {
  const { sent, conditional, signal } = how;
  const command = new CompleteMultipartUploadCommand({
    ...connection.bucket,
    Key: upload.key,
    UploadId: upload.id,
    MultipartUpload: { Parts: [...sent.parts] },
    ...(conditional && { IfNoneMatch: "*", MpuObjectSize: sent.sizeBytes }),
    ...(upload.checksums === "object" && { ChecksumType: "FULL_OBJECT", ChecksumCRC32: sent.crc32 }),
  });
  const { doing } = upload;
  const attemptMs = connection.timing.completeMs;
  const call = { doing, permission: "s3:PutObject", signal, budgetMs: 0, attemptMs, patient: true };
  try {
    await connection.call(call, async (client, options) => {
      const { ETag } = await client.send(command, options);
      if (!ETag) throw notFromS3();
    });
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return error;
    throw error;
  }
}

function requireOurs(found: StoredObject, upload: Upload, sent: SentParts): StoredObject {
  if (found.runId !== upload.runId) throw nameTaken(upload.doing);
  if (found.sizeBytes !== sent.sizeBytes) {
    const state = `the store holds ${found.sizeBytes} bytes instead of ${sent.sizeBytes}`;
    throw new UserError("object-store", `${upload.doing}: ${state}`);
  }
  if (found.crc32 !== undefined && found.crc32 !== sent.crc32 && found.crc32 !== sent.crc32OfParts) {
    throw new UserError("object-store", `${upload.doing}: the store holds other bytes than were sent`);
  }
  return found;
}

export function nameTaken(doing: string): UserError {
  return new UserError("busy", `${doing}: the name is taken`, { effect: "the existing object is unchanged" });
}
