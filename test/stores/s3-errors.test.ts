/** What is made of an S3 store's refusals: tried again or not, and what an operator reads. */
import { describe, expect, test } from "vitest";
import type { UserError } from "../../src/base/errors.ts";
import {
  explain,
  failureOf,
  isStatus,
  isTransient,
  isUnclear,
  notFromS3,
  propertyOf,
  S3Failure,
  toS3Failure,
} from "../../src/stores/s3-errors.ts";

const explained = (error: unknown): UserError =>
  explain(error, { doing: "cannot read it", permission: "s3:GetObject" }, "https://s3.example");

/** As the SDK throws it. */
function thrown(name: string, properties: object = {}, message = "words"): Error {
  return Object.assign(new Error(message), { name }, properties);
}
const answered = (name: string, status: number, message?: string) =>
  thrown(name, { $metadata: { httpStatusCode: status } }, message);

describe("an operator reads", () => {
  test.each([
    [
      answered("AuthorizationHeaderMalformed", 400),
      "credentials",
      "the store expects another region, or the access key is malformed",
    ],
    [thrown("CredentialsProviderError"), "credentials", "no credentials were found"],
    [answered("ExpiredToken", 400), "credentials", "the session token has expired"],
    [answered("ExpiredTokenException", 400), "credentials", "the session token has expired"],
    [answered("TokenRefreshRequired", 400), "credentials", "the session token has expired"],
    [answered("InvalidAccessKeyId", 403), "credentials", "the store does not know the access key"],
    [answered("InvalidToken", 400), "credentials", "the session token is not valid"],
    [
      answered("RequestTimeTooSkewed", 403),
      "credentials",
      "the clock of this machine differs too much from the store's",
    ],
    [answered("SignatureDoesNotMatch", 403), "credentials", "the secret key does not belong to the access key"],
    [answered("InvalidObjectState", 403), "object-store", "the object is archived and must be restored first"],
    [
      answered("KMS.DisabledException", 400, "off"),
      "credentials",
      "no use of the bucket's KMS key (kms:GenerateDataKey, kms:Decrypt): off",
    ],
    [
      answered("AccessDenied", 403, "not kms:Decrypt"),
      "credentials",
      "no use of the bucket's KMS key (kms:GenerateDataKey, kms:Decrypt): not kms:Decrypt",
    ],
    [
      answered("AccessDenied", 403, "no"),
      "credentials",
      "access denied: s3:GetObject is not allowed, or the bucket is not ours (no)",
    ],
    [
      answered("AccessDenied", 401, "no"),
      "credentials",
      "access denied: s3:GetObject is not allowed, or the bucket is not ours (no)",
    ],
    [
      answered("Unknown", 403, ""),
      "credentials",
      "access denied: s3:GetObject is not allowed, or the bucket is not ours",
    ],
    [
      answered("Unknown", 403, "UnknownError"),
      "credentials",
      "access denied: s3:GetObject is not allowed, or the bucket is not ours",
    ],
    [answered("NoSuchUpload", 404), "object-store", "the store has lost the upload, or somebody has ended it"],
    [answered("NoSuchBucket", 404), "not-found", "there is no such bucket"],
    [answered("NoSuchKey", 404), "not-found", "there is no such object"],
    [answered("Moved", 301), "object-store", "the bucket is in another region"],
    [answered("PermanentRedirect", 307), "object-store", "the bucket is in another region"],
    [thrown("Error", {}, "Region is missing"), "usage", "no region is known; set AWS_REGION"],
    [answered("Teapot", 418, "short"), "object-store", "https://s3.example answered 418 Teapot: short"],
    [answered("Teapot", 418, "about kms"), "object-store", "https://s3.example answered 418 Teapot: about kms"],
    [
      thrown("Error", { code: "CERT_HAS_EXPIRED" }, "old"),
      "object-store",
      "the certificate of https://s3.example is not trusted: old",
    ],
    [
      thrown("Error", { code: "ECONNREFUSED" }, "refused"),
      "object-store",
      "no answer from https://s3.example: refused",
    ],
    [thrown("Error", { code: "ECONNREFUSED" }, ""), "object-store", "no answer from https://s3.example: ECONNREFUSED"],
    [
      thrown("Error", { code: "EMFILE" }, "too many open files"),
      "resources",
      "no answer from https://s3.example: too many open files",
    ],
    [
      notFromS3(),
      "object-store",
      "https://s3.example answered 200 UnreadableAnswer: this is not the answer of an S3 store",
    ],
  ] as const)("%s", (error, outcome, state) => {
    const read = explained(error);
    expect(read).toMatchObject({ outcome, message: `cannot read it: ${state}` });
    expect(failureOf(read)?.name).toBe("S3Failure");
  });
});

describe("a failure", () => {
  test("keeps the status of the answer, also of one that could not be parsed", () => {
    expect(toS3Failure(answered("NoSuchKey", 404))).toMatchObject({ status: 404, code: "NoSuchKey", message: "words" });
    expect(toS3Failure(thrown("SyntaxError", { $response: { statusCode: 502 }, $metadata: {} })).status).toBe(502);
    const both = { $response: { statusCode: 502 }, $metadata: { httpStatusCode: 503 } };
    expect(toS3Failure(thrown("SyntaxError", both)).status).toBe(503);
    expect(toS3Failure(answered("NoSuchKey", "404" as unknown as number)).status).toBeUndefined();
    expect(toS3Failure(thrown("Error", { $metadata: null })).status).toBeUndefined();
  });

  test("has the operating system's code when no answer came, and the error's name when one did", () => {
    expect(toS3Failure(thrown("Error", { code: "ECONNRESET" })).code).toBe("ECONNRESET");
    expect(toS3Failure(thrown("TimeoutError", { code: 23 })).code).toBe("TimeoutError");
    expect(toS3Failure(thrown("TimeoutError")).code).toBe("TimeoutError");
    expect(toS3Failure(thrown("SlowDown", { code: "ECONNRESET", $metadata: { httpStatusCode: 503 } })).code).toBe(
      "SlowDown",
    );
  });

  test("of several addresses is that of the first, and of what is no error its text", () => {
    const several = new AggregateError([
      thrown("Error", { code: "ECONNREFUSED" }),
      thrown("Error", { code: "EHOSTUNREACH" }),
    ]);
    expect(toS3Failure(several).code).toBe("ECONNREFUSED");
    expect(toS3Failure(new AggregateError([], "none"))).toMatchObject({ code: "AggregateError", message: "none" });
    expect(toS3Failure("gone")).toMatchObject({ code: "Unknown", message: "gone", status: undefined });
    const failure = new S3Failure("A", "b", 3);
    expect(toS3Failure(failure)).toBe(failure);
  });

  test("tells neither keys nor signatures, and no more than 300 characters", () => {
    const said =
      "key AKIAIOSFODNN7EXAMPLE or ASIAIOSFODNN7EXAMPLE; Signature=abc/def&X-Amz-Credential=who, X-Amz-Date=now Credential=you";
    expect(toS3Failure(thrown("Error", {}, said)).message).toBe(
      "key <access key> or <access key>; Signature=<removed>&X-Amz-Credential=<removed>, X-Amz-Date=<removed> Credential=<removed>",
    );
    expect(toS3Failure(thrown("Error", {}, "x".repeat(1_000))).message).toHaveLength(300);
  });
});

const tried = [
  ...["OutOfTime", "InternalError", "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown"],
  ...["Throttling", "ThrottlingException", "TimeoutError", "EAI_AGAIN", "ECONNRESET", "EHOSTUNREACH", "ENETDOWN"],
  ...["ENOTFOUND", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE", "ETIMEDOUT", "ConnectionClosed", "FailedToOpenSocket"],
];

describe("tried again", () => {
  test.each(tried)("is %s without an answer", (code) => {
    expect(isTransient(new S3Failure(code, ""))).toBe(true);
  });

  test.each(["CERT_HAS_EXPIRED", "CredentialsProviderError", "an ECONNRESET", "Unknown"])("is not %s", (code) => {
    expect(isTransient(new S3Failure(code, ""))).toBe(false);
  });

  test.each([
    [200, true],
    [299, true],
    [300, false],
    [400, false],
    [404, false],
    [429, true],
    [499, false],
    [500, true],
    [501, false],
    [503, true],
  ])("status %i: %s", (status, isTried) => {
    expect(isTransient(new S3Failure("Other", "", status))).toBe(isTried);
  });

  test("is an answer by its code, too, but never 501", () => {
    expect(isTransient(new S3Failure("RequestTimeout", "", 400))).toBe(true);
    expect(isTransient(new S3Failure("SlowDown", "", 501))).toBe(false);
  });
});

test("what the server cannot have seen is clear, all else that is tried again is not", () => {
  const unseen = ["EAI_AGAIN", "ECONNREFUSED", "ConnectionRefused", "ENOTFOUND"];
  for (const code of unseen) expect(isUnclear(new S3Failure(code, "")), code).toBe(false);
  for (const code of tried.filter((each) => !unseen.includes(each))) {
    expect(isUnclear(new S3Failure(code, "")), code).toBe(true);
  }
  expect(isUnclear(new S3Failure("NoSuchKey", "", 404))).toBe(false);
  expect(isUnclear(new S3Failure("ECONNREFUSED by a proxy", "", 503))).toBe(true);
  expect(isUnclear(new S3Failure("a proxy's ECONNREFUSED", "", 503))).toBe(true);
});

test("the failure and its status are found behind what was made of it, and behind nothing else", () => {
  const read = explained(answered("NoSuchKey", 404));
  expect(failureOf(read)).toMatchObject({ status: 404 });
  expect([isStatus(read, 404), isStatus(read, 403, 404), isStatus(read, 403)]).toEqual([true, true, false]);
  expect(isStatus(explained(thrown("Error")), undefined as unknown as number)).toBe(false);
  expect(failureOf(Object.assign(new Error("no"), { cause: new S3Failure("A", "b") }))).toBeUndefined();
  expect(failureOf(undefined)).toBeUndefined();
  expect(isStatus(new Error("no"), 404)).toBe(false);
});

test("a property of anything", () => {
  expect(propertyOf({ a: 1 }, "a")).toBe(1);
  for (const value of [null, undefined, "text", 3]) expect(propertyOf(value, "length")).toBeUndefined();
});
