/** Makes a bucket ready: there, ours, private, writable, and free of what dead runs have left. */
import {
  type BucketLocationConstraint,
  CreateBucketCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  type ListBucketsCommandOutput,
  PutBucketLifecycleConfigurationCommand,
  PutPublicAccessBlockCommand,
} from "@aws-sdk/client-s3";
import { isOutcome, messageOf, UserError } from "../base/errors.ts";
import { abortAbandoned, abortUntilGone, listUploads, withinBound } from "./s3-abort.ts";
import type { S3Connection, Send } from "./s3-client.ts";
import { failureOf, isStatus, notFromS3 } from "./s3-errors.ts";
import { Pages } from "./s3-pages.ts";
import { createUpload } from "./s3-upload.ts";
import { isSnapshotFileName } from "./store.ts";

/** No snapshot's name: an upload of it is begun and ended to see that we may. */
const probeKey = "kaa-backup-probe";
const orphanAgeMs = 24 * 3_600_000;

/** The contract of `Store.prepare`, for a bucket. */
export async function prepareBucket(connection: S3Connection, signal: AbortSignal): Promise<void> {
  if (!(await bucketExists(connection, signal))) await createBucket(connection, signal);
  await probe(connection, signal);
  await abortOrphans(connection, signal);
}

/** The contract of `Store.check`, for a bucket. */
export async function checkBucket(connection: S3Connection, signal: AbortSignal): Promise<"ready" | "absent"> {
  if (!(await bucketExists(connection, signal))) return "absent";
  await probe(connection, signal);
  return "ready";
}

/** Names of the buckets that the credentials may see, in no particular order.
 *  @param connection of no bucket in particular. */
export async function* listBucketNames(
  connection: S3Connection,
  prefix: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const call = { doing: "cannot list buckets", permission: "s3:ListAllMyBuckets", signal };
  const pages = new Pages();
  let token: string | undefined;
  do {
    // Other stores than AWS ignore both parameters and answer with everything.
    const command = new ListBucketsCommand({
      Prefix: prefix,
      ...(token !== undefined && { ContinuationToken: token }),
    });
    const page = await connection.call(call, async (client, options) => {
      const answer: ListBucketsCommandOutput = await client.send(command, options);
      if (answer.Buckets === undefined) throw notFromS3();
      return { names: answer.Buckets.flatMap(({ Name }) => Name ?? []), next: answer.ContinuationToken || undefined };
    });
    token = page.next;
    if (pages.isRepeated({ first: page.names[0], next: token })) {
      throw new UserError("object-store", `${call.doing}: ${connection.endpoint} repeats its pages`);
    }
    yield* page.names.filter((name) => name.startsWith(prefix));
  } while (token !== undefined);
}

async function bucketExists(connection: S3Connection, signal: AbortSignal): Promise<boolean> {
  const call = { doing: `cannot use ${connection.location}`, permission: "s3:ListBucket", signal };
  try {
    const command = new HeadBucketCommand(connection.bucket);
    const { BucketRegion } = await connection.call(call, (client, options) => client.send(command, options));
    connection.useRegion(BucketRegion);
    return true;
  } catch (error) {
    if (isStatus(error, 404)) return false;
    throw error;
  }
}

async function createBucket(connection: S3Connection, signal: AbortSignal): Promise<void> {
  const { bucket, region } = connection.options;
  const doing = `cannot create ${connection.location}`;
  // us-east-1 must not be named. The SDK knows the regions of its day only, hence the cast.
  const configured = region !== undefined && region !== "us-east-1";
  const constraint = { CreateBucketConfiguration: { LocationConstraint: region as BucketLocationConstraint } };
  const command = new CreateBucketCommand({ Bucket: bucket, ...(configured && constraint) });
  try {
    await connection.call({ doing, permission: "s3:CreateBucket", signal }, (client, options) =>
      client.send(command, options),
    );
    connection.note(`created ${connection.location}`);
  } catch (error) {
    // Two runs may create it at once. Some stores say "exists" of one's own bucket, too: HEAD then tells.
    const code = failureOf(error)?.code;
    if (code !== "BucketAlreadyOwnedByYou" && code !== "BucketAlreadyExists") throw error;
  }
  await waitForBucket(connection, doing, signal);
  await makePrivate(connection, signal);
}

async function waitForBucket(connection: S3Connection, doing: string, signal: AbortSignal): Promise<void> {
  const patience = connection.patience(connection.timing.requestBudgetMs);
  while (!(await bucketExists(connection, signal))) {
    if (!(await patience.pause(signal))) throw new UserError("object-store", `${doing}: it does not appear`);
  }
}

/** Settings that S3-compatible stores need not have, and that a narrow role may not set. New buckets of AWS are private
 *  anyway; and `abortOrphans` does what the lifecycle rule does. So a refusal is worth a note, not the backup. */
async function makePrivate(connection: S3Connection, signal: AbortSignal): Promise<void> {
  const blockAll = {
    BlockPublicAcls: true,
    IgnorePublicAcls: true,
    BlockPublicPolicy: true,
    RestrictPublicBuckets: true,
  };
  const access = new PutPublicAccessBlockCommand({
    ...connection.bucket,
    PublicAccessBlockConfiguration: blockAll,
  });
  await setting("its block of public access", "s3:PutBucketPublicAccessBlock", (client, options) =>
    client.send(access, options),
  );
  const rule = { ID: "abort-incomplete-uploads", Status: "Enabled", Filter: { Prefix: "" } } as const;
  const lifecycle = new PutBucketLifecycleConfigurationCommand({
    ...connection.bucket,
    LifecycleConfiguration: { Rules: [{ ...rule, AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 } }] },
  });
  await setting("its rule that ends forgotten uploads", "s3:PutLifecycleConfiguration", (client, options) =>
    client.send(lifecycle, options),
  );

  async function setting(what: string, permission: string, send: Send<unknown>): Promise<void> {
    const doing = `${connection.location} was created without ${what}`;
    try {
      await connection.call({ doing, permission, signal }, send);
    } catch (error) {
      if (!isOutcome(error, "credentials", "object-store", "not-found")) throw error;
      connection.note(messageOf(error));
    }
  }
}

/** Shows before hours of dumping that an upload may be begun and ended. */
async function probe(connection: S3Connection, signal: AbortSignal): Promise<void> {
  const doing = `cannot write to ${connection.location}`;
  const upload = await createUpload(connection, { key: probeKey, runId: crypto.randomUUID(), doing, signal });
  const ended = await withinBound(connection, (bound) => abortUntilGone(connection, upload, bound));
  signal.throwIfAborted();
  if (ended === "gone") return;
  const [outcome, state] =
    ended === "denied"
      ? (["credentials", "s3:AbortMultipartUpload is not allowed"] as const)
      : (["object-store", `${connection.endpoint} does not end it`] as const);
  throw new UserError(outcome, `${doing}: an upload cannot be ended: ${state}`, {
    hints: [
      `aws s3api abort-multipart-upload --bucket ${connection.options.bucket} --key ${probeKey} --upload-id ${upload.id}`,
    ],
  });
}

/** Ends uploads of snapshots that a killed run has left open for more than a day. */
async function abortOrphans(connection: S3Connection, signal: AbortSignal): Promise<void> {
  try {
    // At any age: to a run that is just trying it, an end by somebody else looks like its own.
    await abortAbandoned(connection, probeKey, signal);
    for await (const upload of listUploads(connection, "", signal)) {
      const ageMs = upload.startedAt === undefined ? 0 : Date.now() - upload.startedAt.getTime();
      if (!isSnapshotFileName(upload.key) || ageMs < orphanAgeMs) continue;
      const ended = await withinBound(connection, (bound) => abortUntilGone(connection, upload, bound));
      const what = `an upload of "${upload.key}" that a killed run has left open (id ${upload.id})`;
      connection.note(`${ended === "gone" ? "ended" : "could not end"} ${what}`);
    }
  } catch (error) {
    // Not being able to look for them costs money at most.
    if (!isOutcome(error, "credentials", "object-store", "not-found")) throw error;
    connection.note(messageOf(error));
  }
}
