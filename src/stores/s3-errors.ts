/** What went wrong between us and an S3 store, in one place: what may be tried again, and what an operator is told. */
import { type Outcome, outcomeOr, UserError } from "../base/errors.ts";

/** A request that failed, without the SDK's copy of the request: that holds keys and signatures. */
export class S3Failure extends Error {
  /** HTTP status; undefined when no answer came. */
  readonly status: number | undefined;
  /** `NoSuchKey`, `SlowDown`; of the operating system when no answer came: `ECONNRESET`. */
  readonly code: string;

  constructor(code: string, message: string, status?: number) {
    super(message);
    this.name = "S3Failure";
    this.code = code;
    this.status = status;
  }
}

/** For a 200 that lacks what every S3 store answers: a proxy's page, which the SDK reads as an answer without fields. It
 *  must never pass for "nothing there". */
export function notFromS3(): S3Failure {
  return new S3Failure("UnreadableAnswer", "this is not the answer of an S3 store", 200);
}

/** What a request was for, for messages. */
export interface Purpose {
  /** `cannot store "x.tar.gz" in s3://bucket`. */
  readonly doing: string;
  /** The permission that a refusal is about: `s3:PutObject`. */
  readonly permission: string;
}

/** Anything that the SDK threw, reduced to what we act upon. */
export function toS3Failure(error: unknown): S3Failure {
  if (error instanceof S3Failure) return error;
  if (error instanceof AggregateError && error.errors.length > 0) return toS3Failure(error.errors[0]);
  if (!(error instanceof Error)) return new S3Failure("Unknown", String(error));
  const status = statusIn(error);
  const ofSystem = "code" in error && typeof error.code === "string" ? error.code : undefined;
  const code = status === undefined && ofSystem !== undefined ? ofSystem : error.name;
  return new S3Failure(code, withoutKeys(error.message), status);
}

function statusIn(error: Error): number | undefined {
  // An answer that could not be parsed has its HTTP response, but no metadata.
  const response = propertyOf(propertyOf(error, "$response"), "statusCode");
  const metadata = propertyOf(propertyOf(error, "$metadata"), "httpStatusCode");
  const status = metadata ?? response;
  return typeof status === "number" ? status : undefined;
}

/** A property of a value of which nothing is known. */
export function propertyOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

/** Stores put access keys and signed requests into some messages. */
function withoutKeys(message: string): string {
  return message
    .replace(/\b(AKIA|ASIA)[A-Z0-9]{12,}\b/g, "<access key>")
    .replace(/(X-Amz-[A-Za-z-]+|Signature|Credential)=[^\s&,]+/g, "$1=<removed>")
    .slice(0, 300);
}

/** Of a failure that came from the bound of one attempt. */
export const outOfTime = "OutOfTime";

const transientCodes = new Set([
  outOfTime,
  "InternalError",
  "OperationAborted",
  "RequestTimeout",
  "ServiceUnavailable",
  "SlowDown",
  "Throttling",
  "ThrottlingException",
  "TimeoutError",
]);
const lostConnection =
  /^(EAI_AGAIN|ECONN|EHOST|ENET|ENOTFOUND|EPIPE|ERR_STREAM_PREMATURE_CLOSE|ETIMEDOUT|Connection|FailedToOpenSocket)/;

/** True when the same request may succeed a moment later. */
export function isTransient(failure: S3Failure): boolean {
  const { status, code } = failure;
  if (status === undefined) return transientCodes.has(code) || lostConnection.test(code);
  if (status === 501) return false;
  // A 2xx that is an error: its body was an error document, cut, or a proxy's page.
  return status >= 500 || status === 429 || status < 300 || transientCodes.has(code);
}

/** True when the server has seen the request, or may have: what it did about it is unknown. */
export function isUnclear(failure: S3Failure): boolean {
  return isTransient(failure) && !/^(EAI_AGAIN|ECONNREFUSED|ConnectionRefused|ENOTFOUND)$/.test(failure.code);
}

/** The S3 failure behind an error that `explain` has made. */
export function failureOf(error: unknown): S3Failure | undefined {
  return error instanceof UserError && error.cause instanceof S3Failure ? error.cause : undefined;
}

/** True when the store answered with one of these statuses. */
export function isStatus(error: unknown, ...statuses: readonly number[]): boolean {
  const status = failureOf(error)?.status;
  return status !== undefined && statuses.includes(status);
}

const badCredentials: Readonly<Record<string, string>> = {
  AuthorizationHeaderMalformed: "the store expects another region, or the access key is malformed",
  CredentialsProviderError: "no credentials were found",
  ExpiredToken: "the session token has expired",
  ExpiredTokenException: "the session token has expired",
  InvalidAccessKeyId: "the store does not know the access key",
  InvalidToken: "the session token is not valid",
  RequestTimeTooSkewed: "the clock of this machine differs too much from the store's",
  SignatureDoesNotMatch: "the secret key does not belong to the access key",
  TokenRefreshRequired: "the session token has expired",
};

/** The failure as an operator reads it. */
export function explain(error: unknown, purpose: Purpose, endpoint: string): UserError {
  const failure = toS3Failure(error);
  const [outcome, state] = outcomeOf(failure, purpose, endpoint);
  return new UserError(outcome, `${purpose.doing}: ${state}`, { cause: failure });
}

function outcomeOf(failure: S3Failure, { permission }: Purpose, endpoint: string): readonly [Outcome, string] {
  const { status, code, message } = failure;
  const known = badCredentials[code];
  if (known !== undefined) return ["credentials", known];
  if (code === "InvalidObjectState") return ["object-store", "the object is archived and must be restored first"];
  if (/kms/i.test(code) || (status === 403 && /kms/i.test(message))) {
    return ["credentials", `no use of the bucket's KMS key (kms:GenerateDataKey, kms:Decrypt): ${message}`];
  }
  if (status === 401 || status === 403) {
    const words = message === "" || message === "UnknownError" ? "" : ` (${message})`;
    return ["credentials", `access denied: ${permission} is not allowed, or the bucket is not ours${words}`];
  }
  if (code === "NoSuchUpload") return ["object-store", "the store has lost the upload, or somebody has ended it"];
  if (code === "NoSuchBucket") return ["not-found", "there is no such bucket"];
  if (status === 404) return ["not-found", "there is no such object"];
  if (status === 301 || code === "PermanentRedirect") return ["object-store", "the bucket is in another region"];
  if (message === "Region is missing") return ["usage", "no region is known; set AWS_REGION"];
  if (status !== undefined) return ["object-store", `${endpoint} answered ${status} ${code}: ${message}`];
  if (/CERT|SELF_SIGNED|UNABLE_TO|ALTNAME|ERR_TLS|ERR_SSL|EPROTO/.test(code)) {
    return ["object-store", `the certificate of ${endpoint} is not trusted: ${message}`];
  }
  return [outcomeOr("object-store", failure), `no answer from ${endpoint}: ${message || code}`];
}
