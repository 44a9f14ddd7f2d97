/** Settings of buckets that S3's API can read and write: versioning, lock, policy, tags, lifecycle. */
import {
  CreateBucketCommand,
  DeleteBucketLifecycleCommand,
  DeleteBucketPolicyCommand,
  DeleteBucketTaggingCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketPolicyCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
} from "@aws-sdk/client-s3";
import { UserError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { field } from "../commands.ts";
import { isS3Error, type Server } from "./server.ts";

export interface BucketSettings {
  readonly name: string;
  readonly versioning: "Enabled" | "Suspended" | "";
  /** Undefined: without lock, which cannot be added later. */
  readonly lock?: JsonValue | undefined;
  /** The policy's JSON text. */
  readonly policy?: string | undefined;
  readonly tags?: JsonValue | undefined;
  readonly lifecycle?: JsonValue | undefined;
}

/** Servers say so when a thing is not set, and old ones when they do not know it. */
const notSet = [
  "NoSuchBucketPolicy",
  "NoSuchTagSet",
  "NoSuchTagSetError",
  "NoSuchLifecycleConfiguration",
  "ObjectLockConfigurationNotFoundError",
  "NotImplemented",
  "MethodNotAllowed",
];

/** Undefined when the server says that there is none. */
async function orUnset<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isS3Error(error, ...notSet)) return undefined;
    throw error;
  }
}

export async function settingsOf(server: Server, bucket: string): Promise<BucketSettings> {
  const { client, signal } = server;
  const at = { Bucket: bucket };
  const options = { abortSignal: signal };
  const versioning = await orUnset(client.send(new GetBucketVersioningCommand(at), options));
  const lock = await orUnset(client.send(new GetObjectLockConfigurationCommand(at), options));
  const policy = await orUnset(client.send(new GetBucketPolicyCommand(at), options));
  const tags = await orUnset(client.send(new GetBucketTaggingCommand(at), options));
  const lifecycle = await orUnset(client.send(new GetBucketLifecycleConfigurationCommand(at), options));
  return {
    name: bucket,
    versioning: versioning?.Status ?? "",
    lock: plain(lock?.ObjectLockConfiguration),
    policy: policy?.Policy,
    tags: plain(tags?.TagSet),
    lifecycle: plain(lifecycle?.Rules),
  };
}

/** As JSON would keep it: dates become text. */
function plain(value: unknown): JsonValue | undefined {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as JsonValue);
}

/** Makes a bucket that can take the versions of the snapshot; what could hurt the filling comes later.
 *  @returns false when it is there without the lock that it needs. */
export async function createBucket(
  { client, signal }: Pick<Server, "client" | "signal">,
  settings: BucketSettings,
): Promise<boolean> {
  const options = { abortSignal: signal };
  const { name, lock, versioning } = settings;
  try {
    await client.send(
      new CreateBucketCommand({ Bucket: name, ...(lock !== undefined && { ObjectLockEnabledForBucket: true }) }),
      options,
    );
  } catch (error) {
    if (!isS3Error(error, "BucketAlreadyOwnedByYou", "BucketAlreadyExists")) throw error;
    const hasLock = await clearSettings({ client, signal }, name);
    if (lock !== undefined && !hasLock) return false;
  }
  if (versioning === "" || lock !== undefined) return true;
  const VersioningConfiguration = { Status: "Enabled" } as const;
  await client.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration }), options);
  return true;
}

/** Of a bucket that is there, because it holds locked objects or a service has made it again: what was set later goes, too,
 *  and what could lock or expire the versions that are put back. @returns whether it has a lock. */
async function clearSettings({ client, signal }: Pick<Server, "client" | "signal">, bucket: string): Promise<boolean> {
  const options = { abortSignal: signal };
  const at = { Bucket: bucket };
  await client.send(new DeleteBucketPolicyCommand(at), options);
  await client.send(new DeleteBucketTaggingCommand(at), options);
  await client.send(new DeleteBucketLifecycleCommand(at), options);
  // One that a service has made again has no lock, and MinIO denies setting it.
  if ((await orUnset(client.send(new GetObjectLockConfigurationCommand(at), options))) === undefined) return false;
  const ObjectLockConfiguration = { ObjectLockEnabled: "Enabled" } as const;
  await client.send(new PutObjectLockConfigurationCommand({ ...at, ObjectLockConfiguration }), options);
  return true;
}

/** Applies what must wait until the bucket is filled: a lifecycle may expire what was just restored. */
export async function applySettings(
  { client, signal }: Pick<Server, "client" | "signal">,
  settings: BucketSettings,
): Promise<void> {
  const options = { abortSignal: signal };
  const { name: Bucket, versioning, lock, policy, tags, lifecycle } = settings;
  if (versioning === "Suspended")
    await client.send(
      new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Suspended" } }),
      options,
    );
  if (lock !== undefined)
    await client.send(
      new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration: lock as object }),
      options,
    );
  if (policy !== undefined) await client.send(new PutBucketPolicyCommand({ Bucket, Policy: policy }), options);
  if (tags !== undefined) {
    const TagSet = tags as unknown as { Key: string; Value: string }[]; // the server checks it
    await client.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }), options);
  }
  if (lifecycle !== undefined) {
    const Rules = (lifecycle as unknown as LifecycleRule[]).map(withDates); // the server checks it
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }),
      options,
    );
  }
}

function withDates(rule: LifecycleRule): LifecycleRule {
  const date = rule.Expiration?.Date;
  return date === undefined ? rule : { ...rule, Expiration: { ...rule.Expiration, Date: new Date(date) } };
}

/** @throws UserError `invalid-snapshot`. */
export function parseSettings(value: JsonValue): readonly BucketSettings[] {
  const invalid = new UserError("invalid-snapshot", "minio's list of buckets in the manifest is damaged");
  const list = field(value, "buckets");
  if (!Array.isArray(list)) throw invalid;
  return list.map((each: JsonValue) => {
    const [name, versioning, policy] = [field(each, "name"), field(each, "versioning"), field(each, "policy")];
    if (typeof name !== "string" || (policy !== undefined && typeof policy !== "string")) throw invalid;
    if (versioning !== "" && versioning !== "Enabled" && versioning !== "Suspended") throw invalid;
    const json = (key: string) => field(each, key) as JsonValue | undefined;
    return { name, versioning, policy, lock: json("lock"), tags: json("tags"), lifecycle: json("lifecycle") };
  });
}
