/** The lock against an API server that answers as told: what an interrupted run, a lost answer and a thief do to it. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Connection } from "../../src/cluster/api.ts";
import { refuseIfLocked, takeLock } from "../../src/cluster/lock.ts";

interface Stored {
  readonly metadata: { resourceVersion: string; annotations?: Readonly<Record<string, string>> };
  readonly spec: { holderIdentity: string; acquireTime: string; renewTime?: string; leaseDurationSeconds?: number };
}

let server: Server;
let lease: Stored | undefined;
let version = 0;
/** What happens to the next calls that write: stored but not answered, or neither, with or without an end. */
let next: ("lose-answer" | "refuse" | "hang" | number)[] = [];
/** Called when one has arrived. */
let onWrite: () => void;
/** How long the answers to those that write take. */
let answerMs = 0;
let notes: string[] = [];

beforeEach(async () => {
  [lease, version, next, answerMs, notes] = [undefined, 0, [], 0, []];
  onWrite = () => {};
  server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const answer = (status: number, body: unknown) => response.writeHead(status).end(JSON.stringify(body));
    if (request.method === "GET") return lease === undefined ? answer(404, {}) : answer(200, lease);
    onWrite();
    const fault = next.shift();
    if (fault === "refuse") return response.destroy();
    if (fault === "hang") return;
    if (typeof fault === "number") return answer(fault, { message: "no" });
    const body = JSON.parse(text) as Stored;
    const isStale = lease !== undefined && body.metadata.resourceVersion !== lease.metadata.resourceVersion;
    if (isStale) return answer(409, { message: "the object has been modified" });
    version += 1;
    lease = { ...body, metadata: { ...body.metadata, resourceVersion: String(version) } };
    if (fault === "lose-answer") return response.destroy();
    await sleep(answerMs);
    return answer(200, lease);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

function connected(): Connection {
  const { port } = server.address() as AddressInfo;
  return {
    server: "fake",
    requestTimeoutMs: 0,
    onNote: (message) => void notes.push(message),
    requestOptions: async (path) => ({ url: new URL(`http://127.0.0.1:${port}${path}`), options: {} }),
  };
}

function take(signal = AbortSignal.timeout(10_000), durationMs = 2000, callMs = 500, renewMs = 20) {
  const timing = { durationMs, renewMs, callMs };
  return takeLock(connected(), { namespace: "kaa", holder: "host-1, process 1", purpose: "create", signal, timing });
}

const renewed = async (times: number) => {
  const from = version;
  await vi.waitFor(() => expect(version).toBeGreaterThanOrEqual(from + times), { timeout: 5000 });
};

test("a run that is told to stop while it takes the lock leaves none behind", async () => {
  const interrupted = new AbortController();
  onWrite = () => interrupted.abort(new Error("stopped"));
  await expect(take(interrupted.signal)).rejects.toThrow("stopped");
  expect(lease?.spec.holderIdentity).toBe("");
});

test("a lock that was taken although the answer was lost is given back", async () => {
  next = ["lose-answer"];
  await expect(take()).rejects.toMatchObject({ outcome: "cluster" });
  expect(lease?.spec.holderIdentity).toBe("");
});

test("a lock that cannot be taken is told with the reason, even when what is left of it cannot be given back", async () => {
  next = ["lose-answer", "refuse"];
  await expect(take()).rejects.toThrow(/cannot lock namespace "kaa": cannot reach fake/);
});

test("a server that does not answer is not waited for", async () => {
  next = ["hang"];
  await expect(take()).rejects.toMatchObject({
    outcome: "cluster",
    message: 'cannot lock namespace "kaa": no answer in 0.5 s',
  });
  expect(lease).toBeUndefined();
});

test("of two runs that begin at once, one is told that the other has the lock", async () => {
  onWrite = () => {
    onWrite = () => {};
    const spec = { holderIdentity: "host-2, process 2", acquireTime: new Date().toISOString() };
    lease = { metadata: { resourceVersion: "theirs" }, spec };
  };
  await expect(take()).rejects.toMatchObject({
    outcome: "busy",
    message: 'cannot lock namespace "kaa": another run has just taken it',
  });
  expect(lease?.spec.holderIdentity).toBe("host-2, process 2");
});

test("a lock that the server does not let go is an error of its release", async () => {
  const lock = await take(undefined, 60_000);
  next = Array.from({ length: 1000 }, () => 403);
  await expect(lock.release()).rejects.toMatchObject({ outcome: "forbidden" });
  expect(lease?.spec.holderIdentity).toBe("host-1, process 1");
});

test("a lock that somebody else has when it is released is left to him", async () => {
  const lock = await take();
  const theirs = { holderIdentity: "host-2, process 2", acquireTime: new Date().toISOString() };
  lease = { metadata: { resourceVersion: "theirs" }, spec: theirs };
  await lock.release();
  expect(lock.lost.aborted).toBe(true);
  expect(lease.spec.holderIdentity).toBe("host-2, process 2");
});

test("looking for a lock takes none", async () => {
  const look = () => refuseIfLocked(connected(), "kaa", AbortSignal.timeout(10_000));
  await expect(look()).resolves.toBeUndefined();
  expect(lease).toBeUndefined();
  const lock = await take();
  await expect(look()).rejects.toMatchObject({
    outcome: "busy",
    message: expect.stringMatching(
      /^namespace "kaa" is locked by host-1, process 1 \(create\) since \d{4}-\d\d-\d\dT[\d:.]+Z$/,
    ),
    hints: [expect.stringContaining("the lock frees itself in 2 s")],
  });
  await lock.release();
  await expect(look()).resolves.toBeUndefined();
});

test("a lock that ran out is taken over, and tells what it was for; one that was released does not", async () => {
  const first = await take();
  expect(first.abandoned).toBeUndefined();
  await first.release();
  const second = await take();
  expect(second.abandoned).toBeUndefined();
  await second.release();
  const spec = { holderIdentity: "host-2, process 2", acquireTime: new Date(0).toISOString() };
  lease = { metadata: { resourceVersion: "9", annotations: { "kaa-backup/purpose": "create X" } }, spec };
  const third = await take();
  expect(third.abandoned).toBe("create X");
  await third.release();
});

/** What somebody else left, or holds, whose lease has run out by its date. */
const ranOut = (resourceVersion = "9"): Stored => ({
  metadata: { resourceVersion, annotations: { "kaa-backup/purpose": "create X" } },
  spec: {
    ...{ holderIdentity: "host-2, process 2", acquireTime: new Date(0).toISOString(), leaseDurationSeconds: 60 },
    renewTime: new Date(Date.now() - 3_600_000).toISOString(),
  },
});

describe("a lock that has run out by its date", () => {
  const waitMs = 20 + 200; // renewMs and callMs
  const takeSoon = (signal?: AbortSignal) => take(signal, 2000, 200);

  test("and is renewed all the same is its holder's, whose clock is behind", async () => {
    lease = ranOut("1");
    const renewing = setInterval(() => {
      lease = ranOut(String(Number(lease?.metadata.resourceVersion) + 1));
    }, 20);
    try {
      await expect(takeSoon()).rejects.toMatchObject({
        outcome: "busy",
        message: 'namespace "kaa" is locked by host-2, process 2 (create X) since 1970-01-01T00:00:00.000Z',
        hints: [expect.stringContaining("are the clocks right?")],
      });
    } finally {
      clearInterval(renewing);
    }
    expect(lease.spec.holderIdentity).toBe("host-2, process 2");
  });

  test("and is renewed with a date of now was asleep, and is told as any holder", async () => {
    lease = ranOut();
    setTimeout(() => {
      const late = ranOut("10");
      lease = { ...late, spec: { ...late.spec, renewTime: new Date().toISOString() } };
    }, 50);
    await expect(takeSoon()).rejects.toMatchObject({
      outcome: "busy",
      hints: [expect.stringMatching(/frees itself in (59|60) s/)],
    });
  });

  test("is taken over when nobody has renewed it for as long as its holder may take for that, and it is said why", async () => {
    lease = ranOut();
    const startedAt = performance.now();
    const lock = await takeSoon();
    expect(performance.now() - startedAt).toBeGreaterThan(waitMs - 5);
    expect(lock.abandoned).toBe("create X");
    expect(notes).toEqual([
      "the lock of host-2, process 2 (create X) has run out: looking for 1 s whether it is renewed",
    ]);
    await lock.release();
  });

  test.each([
    ["released", { ...ranOut("10"), spec: { ...ranOut().spec, holderIdentity: "" } }],
    ["deleted", undefined],
  ])("and is %s meanwhile is free, and nothing was abandoned", async (_, then) => {
    lease = ranOut();
    setTimeout(() => {
      lease = then;
    }, 50);
    const lock = await takeSoon();
    expect(lock.abandoned).toBeUndefined();
    await lock.release();
  });

  test("is left alone by a run that is told to stop while it looks", async () => {
    const interrupted = new AbortController();
    const theirs = ranOut();
    lease = theirs;
    setTimeout(() => interrupted.abort(new Error("stopped")), 50);
    await expect(takeSoon(interrupted.signal)).rejects.toThrow("stopped");
    expect(lease).toBe(theirs);
  });
});

test("a lock that was released is taken at once", async () => {
  lease = { ...ranOut(), spec: { ...ranOut().spec, holderIdentity: "" } };
  await (await take(undefined, 2000, 60_000)).release();
  expect(notes).toEqual([]);
});

describe("confirm()", () => {
  test("finds out at once that somebody else has the lock", async () => {
    const lock = await take(undefined, 60_000);
    await lock.confirm();
    const theirs = { holderIdentity: "host-2, process 2", acquireTime: new Date().toISOString() };
    lease = { metadata: { resourceVersion: "theirs" }, spec: theirs };
    await expect(lock.confirm()).rejects.toMatchObject({ outcome: "busy" });
    expect(lock.lost.aborted).toBe(true);
  });

  test("asks a server that does not answer again", async () => {
    const lock = await take(undefined, 60_000, 500, 10_000);
    next = ["refuse", "lose-answer"];
    const from = version;
    await lock.confirm();
    expect(next).toEqual([]);
    expect(version).toBe(from + 2); // the one whose answer was lost, too
    await lock.release();
  });

  test("ends as lost when there was no answer for as long as the lock holds", async () => {
    const lock = await take(undefined, 600, 100);
    next = Array.from({ length: 1000 }, () => "hang" as const);
    await expect(lock.confirm()).rejects.toMatchObject({ outcome: "busy" });
    expect(lock.lost.aborted).toBe(true);
  });

  test("does not go on asking when the run is told to stop", async () => {
    const interrupted = new AbortController();
    const lock = await take(interrupted.signal, 60_000, 500, 10_000);
    next = ["refuse"];
    onWrite = () => interrupted.abort(new Error("stopped"));
    await expect(lock.confirm()).rejects.toThrow("stopped");
    await lock.release();
  });
});

test("a lock runs out by the time that it was asked for, not by that of a late answer", async () => {
  answerMs = 800;
  const startedAt = performance.now();
  const lock = await take(undefined, 1000, 5000);
  next = Array.from({ length: 1000 }, () => "refuse" as const);
  await vi.waitFor(() => expect(lock.lost.aborted).toBe(true), { timeout: 5000, interval: 10 });
  expect(performance.now() - startedAt).toBeLessThan(1500);
});

test("an interrupted run keeps the lock while it cleans up, and then releases it", async () => {
  const interrupted = new AbortController();
  const lock = await take(interrupted.signal);
  interrupted.abort();
  await renewed(3);
  expect(lock.lost.aborted).toBe(false);
  await lock.release();
  expect(lease?.spec.holderIdentity).toBe("");
});

test("a renewal whose answer was lost does not look like a thief", async () => {
  const lock = await take();
  next = ["lose-answer"];
  await renewed(4);
  expect(lock.lost.aborted).toBe(false);
  await lock.release();
  expect(lease?.spec.holderIdentity).toBe("");
});

test("a release whose renewal was lost finds the lock again", async () => {
  const lock = await take();
  await renewed(1);
  if (lease !== undefined) lease = { ...lease, metadata: { resourceVersion: "later" } };
  await lock.release();
  expect(lease?.spec.holderIdentity).toBe("");
});

test("a lock taken by somebody else is lost, and not taken back", async () => {
  const lock = await take();
  const theirs = { holderIdentity: "host-2, process 2", acquireTime: new Date().toISOString() };
  lease = { metadata: { resourceVersion: "theirs" }, spec: theirs };
  await vi.waitFor(() => expect(lock.lost.aborted).toBe(true), { timeout: 5000 });
  await lock.release();
  expect(lease.spec.holderIdentity).toBe("host-2, process 2");
});

test("the same holder's later lock is not ours either", async () => {
  const lock = await take();
  const later = { holderIdentity: "host-1, process 1", acquireTime: new Date(Date.now() + 5000).toISOString() };
  lease = { metadata: { resourceVersion: "later" }, spec: later };
  await vi.waitFor(() => expect(lock.lost.aborted).toBe(true), { timeout: 5000 });
});

test("renewals that fail for a while do no harm; for longer than the lock holds, they lose it", async () => {
  const lock = await take(undefined, 400);
  next = ["refuse", "refuse", "refuse"];
  await renewed(1);
  expect(lock.lost.aborted).toBe(false);
  next = Array.from({ length: 1000 }, () => "refuse" as const);
  await vi.waitFor(() => expect(lock.lost.aborted).toBe(true), { timeout: 5000 });
});
