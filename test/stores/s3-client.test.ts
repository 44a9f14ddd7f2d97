/** One request to an S3 store, and what is made of its failures. The requests are functions here, but where the wire matters. */
import { getEventListeners } from "node:events";
import type { S3Client } from "@aws-sdk/client-s3";
import { describe, expect, onTestFinished, test } from "vitest";
import type { S3Options } from "../../src/stores/s3.ts";
import { type Call, S3Connection } from "../../src/stores/s3-client.ts";
import { S3Failure } from "../../src/stores/s3-errors.ts";
import { answer } from "../fakes/s3-server.ts";
import { first, inChunks, listed, never, request } from "./conformance.ts";
import { bucket, fakeS3UnderTest, impatient, quick, virtualClock } from "./places.ts";

const credentials = { accessKeyId: "AKIAFAKEFAKEFAKEFAKE", secretAccessKey: "secret" };

function connect(options: Partial<S3Options> = {}) {
  const notes: string[] = [];
  const note = (message: string) => void notes.push(message);
  const all = {
    bucket,
    endpoint: "http://127.0.0.1:9",
    credentials,
    timing: quick,
    clock: virtualClock(),
    note,
    ...options,
  };
  return { connection: new S3Connection(all), notes };
}

const call = (more: Partial<Call> = {}): Call => ({
  doing: "cannot do it",
  permission: "s3:DoIt",
  signal: never,
  ...more,
});

/** Fails with these in turn, then succeeds. */
function failing(...failures: readonly S3Failure[]) {
  const rest = [...failures];
  const clients: S3Client[] = [];
  const send = async (client: S3Client) => {
    clients.push(client);
    const failure = rest.shift();
    if (failure !== undefined) throw failure;
    return "done";
  };
  return { send, clients };
}

describe("a request", () => {
  test("is sent again while its failure may pass, each retry is told, and the budget bounds it", async () => {
    const { connection } = connect();
    const told: string[] = [];
    const onRetry = ({ code }: S3Failure) => void told.push(code);
    const twice = failing(new S3Failure("SlowDown", "", 503), new S3Failure("ECONNRESET", ""));
    expect(await connection.call(call({ onRetry }), twice.send)).toBe("done");
    expect(told).toEqual(["SlowDown", "ECONNRESET"]);
    const always = failing(...Array.from({ length: 99 }, () => new S3Failure("SlowDown", "", 503)));
    await expect(connection.call(call({ budgetMs: 0 }), always.send)).rejects.toMatchObject({
      outcome: "object-store",
    });
    expect(always.clients).toHaveLength(1);
  });

  test("that fails for good is explained, with what it was for", async () => {
    const { connection } = connect();
    const { send, clients } = failing(new S3Failure("AccessDenied", "no", 403));
    await expect(connection.call(call(), send)).rejects.toThrow("cannot do it: access denied: s3:DoIt is not allowed");
    expect(clients).toHaveLength(1);
  });

  test("that takes longer than its bound is given up, and tried again within its budget", async () => {
    const { connection } = connect();
    let attempts = 0;
    const silent = (_client: S3Client, { abortSignal }: { readonly abortSignal: AbortSignal }) => {
      attempts += 1;
      return new Promise<never>((_resolve, reject) => {
        abortSignal.addEventListener("abort", () => reject(new Error("stopped")));
      });
    };
    await expect(connection.call(call({ attemptMs: 20, budgetMs: 500 }), silent)).rejects.toThrow(
      "it took more than 20 ms",
    );
    expect(attempts).toBe(2);
  });

  test("ends with its signal's reason, and leaves no listener on it", async () => {
    const { connection } = connect();
    const stop = new AbortController();
    const { signal } = stop;
    const listening = () => getEventListeners(signal, "abort").length;
    expect(await connection.call(call({ signal }), failing().send)).toBe("done");
    expect(listening()).toBe(0);
    const asked = connection.call(call({ signal }), async (_client, { abortSignal }) => {
      stop.abort(new Error("interrupted"));
      abortSignal.throwIfAborted();
    });
    await expect(asked).rejects.toThrow("interrupted");
    const { send, clients } = failing();
    await expect(connection.call(call({ signal }), send)).rejects.toThrow("interrupted");
    expect(clients).toEqual([]);
  });

  test("whose answer takes long to begin goes over connections of their own", async () => {
    const { connection } = connect();
    const prompt = failing();
    const patient = failing();
    for (const _ of [1, 2]) {
      await connection.call(call(), prompt.send);
      await connection.call(call({ patient: true }), patient.send);
    }
    expect(new Set(prompt.clients).size).toBe(1);
    expect(new Set(patient.clients).size).toBe(1);
    expect(prompt.clients[0]).not.toBe(patient.clients[0]);
  });
});

describe("what a second attempt may mend", () => {
  test("a token that has expired is asked for anew, by new clients, and once", async () => {
    const { connection } = connect();
    const expired = new S3Failure("ExpiredToken", "", 400);
    const once = failing(expired);
    expect(await connection.call(call({ budgetMs: 0 }), once.send)).toBe("done");
    expect(once.clients[0]).not.toBe(once.clients[1]);
    await expect(connection.call(call(), failing(expired, expired).send)).rejects.toThrow(
      "the session token has expired",
    );
  });

  test("a clock that differs: the same clients, and one note, whatever the number of requests", async () => {
    const { connection, notes } = connect();
    const skewed = new S3Failure("RequestTimeTooSkewed", "", 403);
    for (const _ of [1, 2]) {
      const { send, clients } = failing(skewed);
      expect(await connection.call(call({ budgetMs: 0 }), send)).toBe("done");
      expect(clients[0]).toBe(clients[1]);
    }
    expect(notes).toEqual([expect.stringContaining("the clock of this machine differs from the store's")]);
    const { send } = failing(new S3Failure("BadDigest", "", 400));
    const { connection: other, notes: none } = connect({ note: undefined });
    expect(await other.call(call({ budgetMs: 0 }), send)).toBe("done");
    expect(none).toEqual([]);
    expect(await other.call(call({ budgetMs: 0 }), failing(skewed).send), "nobody listens").toBe("done");
  });
});

test("HEAD that is refused without a word by a store with another clock is told as that", async () => {
  for (const [minutes, says] of [
    [60, /differs too much/],
    [5, /access denied/],
  ] as const) {
    const under = await fakeS3UnderTest();
    onTestFinished(under.dispose);
    const date = new Date(Date.now() + minutes * 60_000).toUTCString();
    under.server.fault({ times: 9, action: answer({ status: 403, body: "", headers: { date } }) });
    await expect(under.store.open(first, never)).rejects.toThrow(says);
  }
});

test("an answer without an end is given up, but what an object holds is not counted", async () => {
  const under = await fakeS3UnderTest({ store: { partSizeBytes: 8 * 1024 * 1024 } });
  onTestFinished(under.dispose);
  under.server.bucket(bucket);
  const large = Buffer.alloc(17 * 1024 * 1024);
  await under.store.save(request(inChunks(large, 1024 * 1024)));
  const file = await under.store.open(first, never);
  let read = 0;
  for await (const chunk of file.read(0, large.byteLength, never)) read += chunk.byteLength;
  expect(read).toBe(large.byteLength);
  const padding = " ".repeat(17 * 1024 * 1024);
  const page = (body: string) => answer({ status: 200, body: `<ListBucketResult>${body}</ListBucketResult>` });
  under.server.fault({ operation: "ListObjectsV2", times: 9, action: page(padding) });
  await expect(listed(under.store)).rejects.toThrow("more than 16777216 bytes");
});

describe("a connection", () => {
  const clientOf = async (connection: S3Connection) => {
    const { send, clients } = failing();
    await connection.call(call(), send);
    const [client] = clients;
    if (client === undefined) throw new Error("no client");
    return client;
  };

  test("is named by its host, or S3, and its bucket with the owner that is expected", () => {
    expect(connect().connection.endpoint).toBe("127.0.0.1:9");
    expect(connect({ endpoint: undefined, region: "eu-central-1" }).connection.endpoint).toBe("S3");
    expect(connect().connection.location).toBe(`s3://${bucket}`);
    expect(connect().connection.bucket).toStrictEqual({ Bucket: bucket });
    const { bucket: owned } = connect({ expectedOwner: "111122223333" }).connection;
    expect(owned).toStrictEqual({ Bucket: bucket, ExpectedBucketOwner: "111122223333" });
  });

  test("goes to the region that is given, to us-east-1 of an endpoint, and to where AWS says that the bucket is", async () => {
    const regionOf = async (connection: S3Connection) => (await clientOf(connection)).config.region();
    expect(await regionOf(connect().connection)).toBe("us-east-1");
    expect(await regionOf(connect({ region: "eu-central-1" }).connection)).toBe("eu-central-1");
    const aws = connect({ endpoint: undefined, region: "eu-central-1" }).connection;
    const before = await clientOf(aws);
    for (const region of [undefined, "eu-central-1"]) aws.useRegion(region);
    expect(await clientOf(aws)).toBe(before);
    aws.useRegion("eu-west-1");
    expect(await regionOf(aws)).toBe("eu-west-1");
    const own = connect().connection;
    own.useRegion("eu-west-1");
    expect(await regionOf(own)).toBe("us-east-1");
  });

  test("is one that S3-compatible stores understand, and leaves retries to us", async () => {
    const { config } = await clientOf(connect({ timing: impatient }).connection);
    expect(config.forcePathStyle).toBe(true);
    expect(await config.maxAttempts()).toBe(1);
    expect(await config.requestChecksumCalculation()).toBe("WHEN_REQUIRED");
    expect(await config.responseChecksumValidation()).toBe("WHEN_REQUIRED");
    expect(config.followRegionRedirects).toBe(true);
    expect(await config.credentials()).toMatchObject(credentials);
    expect((await clientOf(connect({ endpoint: undefined, region: "x" }).connection)).config.forcePathStyle).toBe(
      false,
    );
  });
});
