/** Which store a URL names. A store's library is loaded when it is used. */
import { fileURLToPath } from "node:url";
import { UserError } from "../base/errors.ts";
import type { S3Options } from "./s3.ts";
import type { Store } from "./store.ts";

const schemes = {
  "s3:": async (url: URL, options: Omit<S3Options, "bucket">) =>
    (await import("./s3.ts")).s3Store({ ...options, bucket: url.hostname }),
  "file:": async (url: URL) => (await import("./local.ts")).directoryStore(fileURLToPath(url)),
} satisfies Record<string, (url: URL, options: Omit<S3Options, "bucket">) => Promise<Store>>;

/** `s3://bucket` or `file:///folder`. Contacts nothing yet.
 *  @throws UserError `usage` for another scheme. */
export async function openStore(location: string, options: Omit<S3Options, "bucket">): Promise<Store> {
  const url = new URL(location);
  const open = Object.entries(schemes).find(([scheme]) => scheme === url.protocol)?.[1];
  if (open === undefined) throw new UserError("usage", `no store for "${url.protocol}"`);
  return await open(url, options);
}
