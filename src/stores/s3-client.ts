/** The connection to one bucket: how requests are signed, bounded in time, tried again and explained. */
import { S3Client } from "@aws-sdk/client-s3";
import { UserError } from "../base/errors.ts";
import { explain, isTransient, outOfTime, type Purpose, S3Failure, toS3Failure } from "./s3-errors.ts";
import { type Clock, defaultTiming, Patience, systemClock, type Timing } from "./s3-retry.ts";

export interface S3Options {
  readonly bucket: string;
  /** Default: us-east-1 with an endpoint, else AWS_REGION or the profile's region. The SDK ignores AWS_DEFAULT_REGION. */
  readonly region?: string | undefined;
  /** Base URL of an S3-compatible store. Default: AWS. */
  readonly endpoint?: string | undefined;
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`. Default: true with an endpoint. */
  readonly forcePathStyle?: boolean | undefined;
  /** Default: the SDK's chain: environment, profile, web identity, instance. */
  readonly credentials?: S3Credentials | undefined;
  readonly profile?: string | undefined;
  /** Account id that must own the bucket; the store checks it on every request. */
  readonly expectedOwner?: string | undefined;
  /** Told what the operator should know. */
  readonly note?: ((message: string) => void) | undefined;
  /** Of the first 6,400 parts (`s3-parts.ts`). Default: 16 MiB. */
  readonly partSizeBytes?: number | undefined;
  /** Default: 2. */
  readonly partsInFlight?: number | undefined;
  readonly timing?: Partial<Timing> | undefined;
  readonly clock?: Clock | undefined;
}

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface Call extends Purpose {
  readonly signal: AbortSignal;
  /** How long failures are tried again. Default: `timing.requestBudgetMs`; 0: never. */
  readonly budgetMs?: number;
  /** Bound of one attempt, body included. Default: twice `timing.idleMs`. */
  readonly attemptMs?: number;
  /** For answers that take long to begin, or are read slowly: the connection may be idle up to `timing.completeMs`. */
  readonly patient?: boolean;
  /** Told of every failure that is tried again. */
  readonly onRetry?: (failure: S3Failure) => void;
}

export type Send<T> = (client: S3Client, options: { readonly abortSignal: AbortSignal }) => Promise<T>;

/** Failures that one more attempt may mend: the SDK has then corrected its clock, we have made a new client with new
 *  credentials, or the bytes were damaged on their way. */
const secondChance = /^(BadDigest|Expired|InvalidToken|RequestTimeTooSkewed|TokenRefresh|XAmzContentSHA256Mismatch)/;

export class S3Connection {
  readonly options: S3Options;
  readonly location: string;
  /** For messages: host and port, never a signed URL. */
  readonly endpoint: string;
  readonly timing: Timing;
  readonly clock: Clock;
  #clients: { readonly prompt: S3Client; readonly patient: S3Client };
  #region: string | undefined;

  constructor(options: S3Options) {
    this.options = options;
    this.location = `s3://${options.bucket}`;
    this.endpoint = options.endpoint === undefined ? "S3" : new URL(options.endpoint).host;
    this.timing = { ...defaultTiming, ...options.timing };
    this.clock = options.clock ?? systemClock;
    this.#region = options.region ?? (options.endpoint === undefined ? undefined : "us-east-1");
    this.#clients = this.#makeClients();
  }

  /** Goes into every request about the bucket. */
  get bucket(): { readonly Bucket: string; readonly ExpectedBucketOwner?: string } {
    const { bucket, expectedOwner } = this.options;
    return { Bucket: bucket, ...(expectedOwner !== undefined && { ExpectedBucketOwner: expectedOwner }) };
  }

  note(message: string): void {
    this.options.note?.(message);
  }

  /** Where AWS says that the bucket is. The SDK would follow a redirect anew for every part. */
  useRegion(region: string | undefined): void {
    if (this.options.endpoint !== undefined || region === undefined || region === this.#region) return;
    this.#region = region;
    this.#clients = this.#makeClients();
  }

  patience(budgetMs: number): Patience {
    return new Patience(this.clock, this.timing, budgetMs);
  }

  /** Sends a request until it succeeds, fails for good, or the budget is used up.
   *  @throws UserError whose cause is an S3Failure; the signal's reason. */
  async call<T>(call: Call, send: Send<T>): Promise<T> {
    const patience = this.patience(call.budgetMs ?? this.timing.requestBudgetMs);
    const chancesUsed = new Set<string>();
    while (true) {
      call.signal.throwIfAborted();
      try {
        return await this.#attempt(call, send);
      } catch (error) {
        call.signal.throwIfAborted();
        if (error instanceof UserError) throw error;
        const failure = toS3Failure(error);
        const maybeMended = secondChance.test(failure.code) && !chancesUsed.has(failure.code);
        chancesUsed.add(failure.code);
        if (maybeMended) this.#mend(failure);
        else if (!isTransient(failure)) throw explain(failure, call, this.endpoint);
        call.onRetry?.(failure);
        if (!maybeMended && !(await patience.pause(call.signal))) throw explain(failure, call, this.endpoint);
      }
    }
  }

  /** One attempt with its own bound. A signal that is only for the attempt, so that nothing piles up on the caller's. */
  async #attempt<T>(call: Call, send: Send<T>): Promise<T> {
    const stop = new AbortController();
    const onAbort = () => stop.abort(call.signal.reason);
    let timedOut = false;
    const attemptMs = call.attemptMs ?? 2 * this.timing.idleMs;
    const timer = setTimeout(() => {
      timedOut = true;
      stop.abort();
    }, attemptMs);
    call.signal.addEventListener("abort", onAbort, { once: true });
    try {
      const client = call.patient === true ? this.#clients.patient : this.#clients.prompt;
      return await send(client, { abortSignal: stop.signal });
    } catch (error) {
      if (!timedOut) throw error;
      throw new S3Failure(outOfTime, `it took more than ${attemptMs} ms`);
    } finally {
      clearTimeout(timer);
      call.signal.removeEventListener("abort", onAbort);
    }
  }

  #mend(failure: S3Failure): void {
    if (failure.code === "RequestTimeTooSkewed") {
      this.note("the clock of this machine differs from the store's; requests are signed with the store's time");
    }
    // New clients ask the credential chain again; the SDK would keep what it was given until its stated expiry.
    if (/Token/.test(failure.code)) this.#clients = this.#makeClients();
  }

  #makeClients(): { readonly prompt: S3Client; readonly patient: S3Client } {
    const { idleMs, completeMs } = this.timing;
    return { prompt: this.#makeClient(idleMs), patient: this.#makeClient(completeMs) };
  }

  #makeClient(idleMs: number): S3Client {
    const { endpoint, forcePathStyle, credentials, profile } = this.options;
    return new S3Client({
      ...(this.#region !== undefined && { region: this.#region }),
      ...(endpoint !== undefined && { endpoint, forcePathStyle: forcePathStyle ?? true }),
      ...(endpoint === undefined && forcePathStyle !== undefined && { forcePathStyle }),
      ...(credentials !== undefined && { credentials }),
      ...(profile !== undefined && { profile }),
      maxAttempts: 1,
      followRegionRedirects: true,
      // It would open a new connection for every part.
      expectContinueHeader: false,
      // Checksums are set where we want them; the SDK's own break S3-compatible stores (aws/aws-sdk-js-v3#6742).
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      requestHandler: {
        connectionTimeout: this.timing.connectMs,
        socketTimeout: idleMs,
        httpAgent: { keepAlive: true, maxSockets: 16 },
        httpsAgent: { keepAlive: true, maxSockets: 16 },
      },
    });
  }
}
