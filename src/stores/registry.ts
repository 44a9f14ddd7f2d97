/** Which store a URL names. A store's library is loaded when it is used. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../base/errors.ts";
import type { S3Options } from "./s3.ts";
import type { Store } from "./store.ts";

/** Of these, directories use `note` only. */
export type StoreOptions = Omit<S3Options, "bucket">;

const schemes = {
  // The text itself: a URL would drop what is behind "?" and "#", blanks and line ends, and leave another bucket's name.
  "s3://": async (location: string, options: StoreOptions) => {
    const [bucket = "", path = ""] = location.slice("s3://".length).split(/\/(.*)/s);
    if (path !== "") throw new UserError("usage", `snapshots are kept at the root of a bucket: s3://${bucket}`);
    return (await import("./s3.ts")).s3Store({ ...options, bucket });
  },
  "file://": async (location: string, { note }: StoreOptions) =>
    (await import("./local.ts")).directoryStore(resolve(fileURLToPath(location)), note === undefined ? {} : { note }),
} satisfies Record<string, (location: string, options: StoreOptions) => Promise<Store>>;

/** @param location `s3://bucket` or `file:///folder`. Contacts nothing yet.
 *  @throws UserError `usage` for anything else. */
export async function openStore(location: string, options: StoreOptions = {}): Promise<Store> {
  const open = Object.entries(schemes).find(([scheme]) => location.startsWith(scheme))?.[1];
  if (open === undefined || (location.startsWith("file:") && !URL.canParse(location))) {
    throw new UserError("usage", `"${location}" names no store: expected s3://bucket or file:///folder`);
  }
  return await open(location, options);
}

/** Names of the S3 buckets with this beginning that the credentials may see. */
export async function listBuckets(
  prefix: string,
  options: StoreOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { s3Buckets } = await import("./s3.ts");
  const names: string[] = [];
  for await (const name of s3Buckets(prefix, options, signal)) names.push(name);
  return names;
}
