/** How long MinIO is waited for. The client's own limits are of sockets, which a forwarded connection is not. */
import type { S3Client } from "@aws-sdk/client-s3";
import { answeredWithin, defaultStallMs, workMs } from "../../base/stall.ts";
import { field } from "../commands.ts";

/** Requests that are answered when the work is done: a thousand versions are deleted, parts put together. */
const longCommands = ["DeleteObjectsCommand", "CompleteMultipartUploadCommand"];

/** What a slow connection still takes of a body. */
const leastBytesPerMs = 64;

/** Limits the time until an answer is there: whole, but for the content of an object, whose reader has a limit of its own.
 *  A request that is too late is not sent again. */
export function addAnswerLimit({ middlewareStack }: S3Client, stallMs = defaultStallMs): void {
  middlewareStack.add(
    (next, { commandName = "" }) =>
      async (args) => {
        const bodyBytes = Number(field(field(args.request, "body"), "byteLength") ?? 0);
        const answerMs = longCommands.includes(commandName) ? workMs : stallMs;
        return await answeredWithin(next(args), answerMs + Math.ceil(bodyBytes / leastBytesPerMs));
      },
    { step: "deserialize", priority: "high", name: "answerLimit" },
  );
}
