/** Which store a URL names. A store's library is loaded when it is used. */
import { fileURLToPath } from "node:url";
import { UserError } from "../base/errors.ts";
import type { S3Options } from "./s3.ts";
import type { Store } from "./store.ts";

/** Of these, directories use `note` only. */
export type StoreOptions = Omit<S3Options, "bucket">;

const schemes = {
  "s3:": async (url: URL, options: StoreOptions) => {
    if (!/^\/?$/.test(url.pathname)) {
      throw new UserError("usage", `snapshots are kept at the root of a bucket: s3://${url.hostname}`);
    }
    return (await import("./s3.ts")).s3Store({ ...options, bucket: url.hostname });
  },
  "file:": async (url: URL, { note }: StoreOptions) =>
    (await import("./local.ts")).directoryStore(fileURLToPath(url), note === undefined ? {} : { note }),
} satisfies Record<string, (url: URL, options: StoreOptions) => Promise<Store>>;

/** @param location `s3://bucket` or `file:///folder`. Contacts nothing yet.
 *  @throws UserError `usage` for anything else. */
export async function openStore(location: string, options: StoreOptions = {}): Promise<Store> {
  const url = URL.parse(location);
  const open = Object.entries(schemes).find(([scheme]) => scheme === url?.protocol)?.[1];
  if (url === null || open === undefined) {
    throw new UserError("usage", `"${location}" names no store: expected s3://bucket or file:///folder`);
  }
  return await open(url, options);
}
