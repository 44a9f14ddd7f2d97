/** What S3's client does otherwise than MinIO needs it, at the level of HTTP headers. */
import { createHash } from "node:crypto";
import type { S3Client } from "@aws-sdk/client-s3";
import { field } from "../commands.ts";

/** Sends the MD5 of every body that is in memory. Servers of 2021 demand it where the client now sends only a CRC32
 *  (deleting many, locks, lifecycles), and all servers then prove that what they got is what we sent. */
export function addContentMd5({ middlewareStack }: S3Client): void {
  middlewareStack.add(
    (next) => async (args) => {
      const body = field(args.request, "body");
      const headers = headersOf(args.request);
      if (headers !== undefined && (typeof body === "string" || body instanceof Uint8Array) && body.length > 0)
        headers["content-md5"] = createHash("md5").update(body).digest("base64");
      return await next(args);
    },
    { step: "build", name: "contentMd5" },
  );
}

/** Names of files in Content-Disposition and metadata may be raw UTF-8. Node takes the bytes of headers for Latin-1, while
 *  the signature is made over UTF-8; so text is what we see and what is signed, and its bytes are what is sent. */
export function addUtf8Headers({ middlewareStack }: S3Client): void {
  middlewareStack.add(
    (next) => async (args) => {
      recode(headersOf(args.request), (text) => Buffer.from(text, "utf8").toString("latin1"));
      const result = await next(args);
      recode(headersOf(result.response), (text) => {
        const bytes = Buffer.from(text, "latin1");
        const decoded = bytes.toString("utf8");
        return Buffer.from(decoded, "utf8").equals(bytes) ? decoded : text;
      });
      return result;
    },
    { step: "deserialize", priority: "low", name: "utf8Headers" },
  );
}

function recode(headers: Record<string, string> | undefined, change: (text: string) => string): void {
  for (const [name, value] of Object.entries(headers ?? {})) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is what needs no change
    if (headers !== undefined && /[^\x00-\x7f]/.test(value)) headers[name] = change(value);
  }
}

function headersOf(message: unknown): Record<string, string> | undefined {
  const headers = field(message, "headers");
  return typeof headers === "object" && headers !== null ? (headers as Record<string, string>) : undefined; // the client's own
}
