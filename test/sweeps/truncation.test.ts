/** Creates whose exec streams are cut: at any byte of any command, in every way a connection ends, or with no end at all. None
 *  publishes anything, and each is noticed in time. */
import { readdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { backup } from "../../src/backup.ts";
import { isOutcome } from "../../src/base/errors.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { defaultLiveness, type Liveness } from "../../src/cluster/socket.ts";
import type { Cut } from "../fakes/api-answer.ts";
import { FakeApiServer } from "../fakes/api-server.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import { mariadbPlan, scopeOf } from "../fakes/scope.ts";
import { noise } from "../snapshot/make.ts";
import { bucket, directoryUnderTest, type FakeUnderTest, fakeS3UnderTest } from "../stores/places.ts";
import { type Random, say, sweep } from "./sweep.ts";

const lanes = 8;
const file = "test/sweeps/truncation.test.ts";
/** The limits of the design, in milliseconds. */
const promised = { afterCloseMs: 5_000, afterSilenceMs: 60_000 } as const;
const quick: Liveness = { pingMs: 100, silenceMs: 700, handshakeMs: 20_000, closeMs: 500, heartbeatMs: 200 };
/** What the promise leaves for cleaning up, once silence has been noticed: it is looked for at each ping. */
const slackMs = promised.afterSilenceMs - defaultLiveness.silenceMs - defaultLiveness.pingMs;

interface Lane {
  readonly server: FakeApiServer;
  readonly s3: FakeUnderTest;
  readonly directory: Awaited<ReturnType<typeof directoryUnderTest>>;
}

const all: Lane[] = [];
/** Bytes that each command of a create sends, with its report and without its status. */
let sentBytes: readonly number[] = [];
const statusBytes = Buffer.byteLength('{"metadata":{},"status":"Success"}');

beforeAll(async () => {
  for (let at = 0; at < lanes; at += 1) {
    const server = new FakeApiServer([new MariadbPod(noise(150_000).toString("base64")).pod]);
    await server.start();
    all.push({ server, s3: await fakeS3UnderTest(), directory: await directoryUnderTest() });
  }
  sentBytes = await bytesOfCommands();
});
afterAll(async () => {
  for (const { server, s3, directory } of all) {
    await server.stop();
    await s3.dispose();
    await directory.dispose();
  }
});

/** A create that nothing disturbs, which also leaves the snapshot that all others must leave as it is. */
async function bytesOfCommands(): Promise<readonly number[]> {
  const commands: { bytes: number }[] = [];
  for (const each of all) {
    each.server.execCut = () => {
      const command = { bytes: 0 };
      if (each === all[0]) commands.push(command);
      const onSent = (bytes: number) => {
        command.bytes += bytes;
      };
      return { afterBytes: Number.POSITIVE_INFINITY, how: "fin", onSent };
    };
    await create(each, each === all[0]);
    each.server.execCut = () => undefined;
  }
  // A snapshot is named by its second, and these are published: what comes next must not find the name taken.
  await sleep(1000 - (Date.now() % 1000));
  return commands.map(({ bytes }) => bytes - statusBytes);
}

async function create({ server, s3, directory }: Lane, toS3: boolean) {
  const cluster = await connectCluster({ kubeconfig: server.kubeconfig, liveness: quick });
  const scope = scopeOf(cluster, AbortSignal.timeout(240_000));
  return await backup(mariadbPlan, scope, toS3 ? s3.store : directory.store);
}

function someCut(random: Random): { readonly command: number; readonly cut: Cut } {
  const command = random.below(sentBytes.length);
  const how = random.pick(["reset", "fin", "close", "close-1001", "silence", "success", "silence"] as const);
  // Its status belongs to what can be cut; but with the whole report in front of it, an early success is none.
  const lengthBytes = (sentBytes[command] ?? 0) + (how === "success" ? 0 : statusBytes);
  const near = random.pick([0, 1, 40, 100, 200]);
  const afterBytes = random.next() < 0.3 ? Math.max(0, lengthBytes - 1 - near) : random.below(lengthBytes);
  return { command, cut: { afterBytes, how } };
}

test("the limits are those of the design", () => {
  expect(slackMs).toBeGreaterThanOrEqual(5_000);
  expect(defaultLiveness.closeMs).toBeLessThanOrEqual(promised.afterCloseMs);
  expect(sentBytes.length).toBeGreaterThanOrEqual(4);
});

test("exec streams cut", async () => {
  const noticedMs = { close: 0, silence: 0 };
  await sweep({
    ...{ name: "exec streams cut", file, cases: 10_000, sample: 60, lanes },
    async run(_index, random, lane) {
      const place = all[lane];
      if (place === undefined) throw new RangeError(`no lane ${lane}`);
      const { command, cut } = someCut(random);
      const toS3 = random.next() < 0.5;
      const what = `${cut.how} after ${cut.afterBytes} bytes of command ${command}`;
      const kind = cut.how === "silence" ? "silence" : "close";
      const limitMs = kind === "close" ? promised.afterCloseMs : quick.silenceMs + quick.pingMs + slackMs;
      let late = "";
      // On a busy machine tenths of seconds pass before the cut, or after it: then it is tried again.
      for (let tries = 0; tries < 4; tries += 1) {
        const { complaint, tookMs } = await createCut(place, command, cut, toS3);
        if (complaint !== undefined) return `${what}: ${complaint}`;
        late = tookMs === undefined ? "it was never cut" : `noticed after ${Math.round(tookMs)} ms`;
        if (tookMs === undefined || tookMs > limitMs) continue;
        noticedMs[kind] = Math.max(noticedMs[kind], tookMs);
        return undefined;
      }
      return `${what}: ${late}`;
    },
  });
  const [close, silence] = [Math.round(noticedMs.close), Math.round(noticedMs.silence)];
  say(
    `exec streams cut: noticed at most ${close} ms after close, ${silence} ms after silence of ${quick.silenceMs} ms`,
  );
});

/** @returns what did not hold, and how long after the cut the run had ended; undefined when it ended before. */
async function createCut(place: Lane, command: number, cut: Cut, toS3: boolean) {
  let seen = -1;
  let cutAtMs: number | undefined;
  const onCut = () => {
    cutAtMs = performance.now();
  };
  place.server.execCut = () => {
    seen += 1;
    return seen === command ? { ...cut, onCut } : undefined;
  };
  const before = await holds(place);
  const error = await create(place, toS3).catch((thrown: unknown) => thrown);
  const tookMs = cutAtMs === undefined ? undefined : performance.now() - cutAtMs;
  place.server.requests.length = 0;
  place.s3.server.log.length = 0;
  const after = await holds(place);
  const isLost = isOutcome(error, "stream-lost", "storage-failed");
  const complaint = !isLost
    ? `ended with ${String(error)}`
    : after !== before
      ? `there is ${after}, and was ${before}`
      : undefined;
  return { complaint, tookMs };
}

/** All that lies in the stores, finished or not, and who holds the lock. */
async function holds({ server, s3, directory }: Lane): Promise<string> {
  const { objects, uploads } = s3.server.buckets.all.get(bucket) ?? { objects: new Map(), uploads: new Map() };
  const files = await readdir(directory.path).catch(() => []);
  const holders = [...server.leases.values()].map(
    ({ body }) => (body["spec"] as Record<string, unknown>)["holderIdentity"],
  );
  return JSON.stringify({ objects: [...objects.keys()], uploads: uploads.size, files, holders });
}
