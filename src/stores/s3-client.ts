/** The connection to one bucket: how requests are signed, bounded in time, tried again and explained. */
import { pipeline, Readable, Transform } from "node:stream";
import { S3Client } from "@aws-sdk/client-s3";
import { explain, isTransient, outOfTime, type Purpose, propertyOf, S3Failure, toS3Failure } from "./s3-errors.ts";
import { type Clock, defaultTiming, Patience, systemClock, type Timing } from "./s3-retry.ts";

export interface S3Options {
  readonly bucket: string;
  /** Default: us-east-1 with an endpoint, else AWS_REGION or the profile's region. The SDK ignores AWS_DEFAULT_REGION. */
  readonly region?: string | undefined;
  /** Base URL of an S3-compatible store. Default: AWS. */
  readonly endpoint?: string | undefined;
  /** Default: the SDK's chain: environment, profile, web identity, instance. */
  readonly credentials?: S3Credentials | undefined;
  /** Account id that must own the bucket; the store checks it on every request. */
  readonly expectedOwner?: string | undefined;
  /** Told what the operator should know. */
  readonly note?: ((message: string) => void) | undefined;
  /** Of the first 4,000 parts (`s3-parts.ts`). Default: by the size that is expected, at least 8 MiB. */
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

/** Stores refuse what was signed more than a quarter of an hour ago, or ahead. A little less, for the way takes time. */
const toleratedSkewMs = 14 * 60_000;

export class S3Connection {
  readonly options: S3Options;
  readonly location: string;
  /** For messages: host and port, never a signed URL. */
  readonly endpoint: string;
  readonly timing: Timing;
  readonly clock: Clock;
  #clients: { readonly prompt: S3Client; readonly patient: S3Client };
  #region: string | undefined;
  #clockAheadMs: number | undefined;
  #hasToldClock = false;

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

  /** By the `Date` of the last answer, which is whole seconds. */
  get clockAheadMs(): number | undefined {
    return this.#clockAheadMs;
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
        const failure = this.#named(toS3Failure(error));
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

  /** HEAD is refused without a word: that it was for the clock, only the store's own shows. */
  #named(failure: S3Failure): S3Failure {
    const isSilent = failure.status === 403 && /^(|Unknown|UnknownError|403|Forbidden)$/.test(failure.code);
    const isSkewed = Math.abs(this.#clockAheadMs ?? 0) > toleratedSkewMs;
    return isSilent && isSkewed ? new S3Failure("RequestTimeTooSkewed", failure.message, failure.status) : failure;
  }

  #mend(failure: S3Failure): void {
    if (failure.code === "RequestTimeTooSkewed" && !this.#hasToldClock) {
      this.#hasToldClock = true;
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
    const { endpoint, credentials } = this.options;
    const client = new S3Client({
      ...(this.#region !== undefined && { region: this.#region }),
      // `endpoint/bucket/key`: not every store has a name for each bucket, as `bucket.endpoint/key` needs it.
      ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
      ...(credentials !== undefined && { credentials }),
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
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (given) => {
          const result = await next(given);
          this.#readClock(result.response);
          // What an object holds is read as it comes; every other answer is put together in memory.
          if (commandName !== "GetObjectCommand") limitAnswer(result.response);
          return result;
        },
      { step: "deserialize", priority: "low" }, // the nearest to the wire, so that answers that are errors tell the time, too
    );
    return client;
  }

  /** @param response the SDK's HttpResponse, which it types as unknown. */
  #readClock(response: unknown): void {
    const headers = propertyOf(response, "headers");
    const time = Date.parse(String(propertyOf(headers, "date")));
    if (!Number.isNaN(time)) this.#clockAheadMs = Date.now() - time;
  }
}

/** A page of a listing has a few MiB at most. */
const longestAnswerBytes = 16 * 1024 * 1024;

/** @param response as above; its body is replaced by one that fails when it does not end. */
function limitAnswer(response: unknown): void {
  const body = propertyOf(response, "body");
  if (!(body instanceof Readable)) return;
  let total = 0;
  const limit = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      total += chunk.byteLength;
      if (total <= longestAnswerBytes) done(null, chunk);
      else done(new S3Failure("EndlessAnswer", `an answer of more than ${longestAnswerBytes} bytes`));
    },
  });
  pipeline(body, limit, () => {}); // whoever reads it is told
  Reflect.set(response as object, "body", limit); // it has a property
}
