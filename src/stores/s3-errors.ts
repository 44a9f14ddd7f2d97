/** What went wrong with S3, in an operator's words. The only place that knows the SDK's names of errors. */
import { UserError } from "../base/errors.ts";

interface ServiceError {
  readonly name: string;
  readonly message: string;
  readonly statusCode: number | undefined;
}

/** @returns undefined for something that no S3 server said. */
export function serviceError(error: unknown): ServiceError | undefined {
  if (!(error instanceof Error) || !("$metadata" in error)) return undefined;
  const metadata = error.$metadata as { httpStatusCode?: number } | undefined; // set by the SDK on every service error
  const statusCode = metadata?.httpStatusCode;
  return { name: error.name, message: error.message, statusCode };
}

export function isStatus(error: unknown, ...statusCodes: readonly number[]): boolean {
  const statusCode = serviceError(error)?.statusCode;
  return statusCode !== undefined && statusCodes.includes(statusCode);
}

/** True when the same request may well succeed a moment later. */
export function isTransient(error: unknown): boolean {
  const service = serviceError(error);
  if (error instanceof UserError || (error instanceof Error && error.name === "AbortError")) return false;
  if (service?.statusCode === undefined) return true; // nothing came back: reset, refused, timeout, unreadable answer
  const busy = [
    "SlowDown",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
  ];
  return (
    service.statusCode >= 500 || service.statusCode === 429 || busy.includes(service.name) || service.statusCode < 300
  );
}

/** @param action the IAM action that a refusal would be about: "s3:PutObject". */
export function explain(error: unknown, doing: string, action: string): UserError {
  if (error instanceof UserError) return error;
  const service = serviceError(error);
  const facts = { cause: error };
  if (service === undefined || service.statusCode === undefined) {
    const name = error instanceof Error ? error.name : "";
    if (/Credentials|Token/.test(name)) {
      return new UserError("credentials", `${doing}: no usable AWS credentials`, {
        ...facts,
        hints: ["set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile by AWS_PROFILE"],
      });
    }
    return new UserError("object-store", `${doing}: ${reasonOf(error)}`, facts);
  }
  const words = service.message === "" || service.message === "UnknownError" ? service.name : service.message;
  switch (service.statusCode) {
    case 401:
    case 403:
      return new UserError("credentials", `${doing}: refused: ${words}`, {
        ...facts,
        hints: [`does the key have ${action}, and is the bucket yours?`],
      });
    case 404:
      return new UserError("not-found", `${doing}: ${words}`, facts);
    case 301:
      return new UserError("object-store", `${doing}: the bucket is in another region`, {
        ...facts,
        hints: ["set AWS_REGION"],
      });
    default:
      return new UserError("object-store", `${doing}: ${words} (HTTP ${service.statusCode})`, facts);
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message || error.name : String(error);
}

export interface RetryPolicy {
  /** How long one request may be retried before it counts as failed. */
  readonly budgetMs: number;
  /** Wait before the first retry; doubled each time, up to 20 s, with jitter. */
  readonly firstWaitMs: number;
}

export const defaultRetry: RetryPolicy = { budgetMs: 10 * 60 * 1000, firstWaitMs: 500 };

/** Runs until it succeeds, fails for good, or the budget is used up. */
export async function retrying<T>(policy: RetryPolicy, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const giveUpAt = Date.now() + policy.budgetMs;
  for (let waitMs = policy.firstWaitMs; ; waitMs = Math.min(waitMs * 2, 20_000)) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!isTransient(error) || Date.now() + waitMs > giveUpAt) throw error;
      await wait(waitMs * (0.5 + Math.random() / 2), signal);
    }
  }
}

function wait(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, durationMs);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
