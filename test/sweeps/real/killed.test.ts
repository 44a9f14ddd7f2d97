/** The program, killed and stopped at any point of a backup into a real S3 server: no false snapshot, none lost, and the next
 *  run leaves nothing of it behind. */

import { setTimeout as sleep } from "node:timers/promises";
import { HeadObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { outcomes } from "../../../src/base/errors.ts";
import { openSnapshot } from "../../../src/snapshot/reader.ts";
import { s3Store } from "../../../src/stores/s3.ts";
import type { Store, StoredFile } from "../../../src/stores/store.ts";
import { FakeApiServer } from "../../fakes/api-server.ts";
import { MariadbPod } from "../../fakes/mariadb-pod.ts";
import { type Ended, isBuilt, start } from "../../faults/program.ts";
import { lock } from "../../faults/world.ts";
import { never, noise } from "../../snapshot/make.ts";
import { type Random, say, sweep } from "../sweep.ts";
import { credentials, type Minio, startMinio } from "./minio.ts";

const lanes = 2;
const file = "test/sweeps/real/killed.test.ts";
const bucket = "storage-backup--kaa";
/** Every fifth run sends two parts of an upload, the others one. */
const sizes = [
  { every: 5, content: noise(17_500_000).toString("base64") },
  { every: 1, content: noise(600_000).toString("base64") },
] as const;
const small = noise(20_000).toString("base64");
const stopMs = 20_000;

class Lane {
  readonly minio: Minio;
  readonly server: FakeApiServer;
  readonly database = new MariadbPod(small);
  readonly store: Store;
  readonly client: S3Client;
  /** What must stay as it is: ETags by name. */
  readonly earlier = new Map<string, string>();
  /** Of runs that nobody disturbs, one for each size. */
  readonly events: number[] = [];

  constructor(minio: Minio) {
    this.minio = minio;
    this.server = new FakeApiServer([this.database.pod]);
    this.store = s3Store({ bucket, endpoint: minio.url, region: "us-east-1", credentials });
    this.client = new S3Client({ endpoint: minio.url, region: "us-east-1", credentials, forcePathStyle: true });
  }

  async run(content: string, strike?: { readonly nth: number; readonly signal: NodeJS.Signals }) {
    this.database.databases = new MariadbPod(content).databases;
    const args = ["create", "--storage", "mariadb", "--bucket", bucket, "--compression", "client"];
    const running = start([...args, "--compression-level", "1", "-o", "name"], { env: this.#environment() });
    let events = 0;
    let struckAtMs = 0;
    const count = () => {
      events += 1;
      if (events !== strike?.nth) return;
      struckAtMs = performance.now();
      running.child.kill(strike.signal);
    };
    this.minio.onData = count;
    this.server.onEvent = count;
    const ended = await running.ended;
    this.minio.onData = () => {};
    this.server.onEvent = () => {};
    const isStruck = strike !== undefined && events >= strike.nth;
    return { ended, events, isStruck, stoppedMs: performance.now() - struckAtMs };
  }

  #environment(): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "",
      HOME: this.server.folder,
      KUBECONFIG: this.server.kubeconfig,
      AWS_ENDPOINT_URL: this.minio.url,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    };
  }

  async listed(): Promise<readonly StoredFile[]> {
    const files: StoredFile[] = [];
    for await (const each of this.store.list(never)) files.push(each);
    return files;
  }

  async etagOf(fileName: string): Promise<string> {
    const { ETag } = await this.client.send(new HeadObjectCommand({ Bucket: bucket, Key: fileName }));
    return ETag ?? "none";
  }

  /** Looks at all there is, and takes away what is new and whole, so that the bucket stays small. */
  async judge(): Promise<{ readonly complaints: readonly string[]; readonly isPublished: boolean }> {
    const complaints: string[] = [];
    const files = await this.listed();
    for (const [name, etag] of this.earlier) {
      const isThere = files.some(({ fileName }) => fileName === name);
      if (!isThere || (await this.etagOf(name)) !== etag) complaints.push(`"${name}" is lost or changed`);
    }
    const news = files.filter(({ fileName }) => !this.earlier.has(fileName));
    for (const { fileName } of news) {
      if (!(await this.#isWhole(fileName))) complaints.push(`"${fileName}" is published and not whole`);
      await this.store.remove(fileName, never);
    }
    return { complaints, isPublished: news.length > 0 };
  }

  async #isWhole(fileName: string): Promise<boolean> {
    const opened = await this.store.open(fileName, never);
    try {
      await (await openSnapshot(opened, never)).verifyAll(never);
      return true;
    } catch {
      return false;
    } finally {
      await opened.close();
    }
  }
}

const all: Lane[] = [];

beforeAll(async () => {
  for (let at = 0; at < lanes; at += 1) {
    const lane = new Lane(await startMinio());
    all.push(lane);
    await lane.server.start();
    await lane.store.prepare(never);
    for (let count = 0; count < 2; count += 1) {
      const { ended } = await lane.run(small);
      expect(ended.code, ended.stderr).toBe(0);
      // A snapshot is named by the second in which its run began. Later ones are taken away as soon as they are judged.
      await sleep(1000 - (Date.now() % 1000) + 5);
    }
    for (const { fileName } of await lane.listed()) lane.earlier.set(fileName, await lane.etagOf(fileName));
    for (const { content } of sizes) {
      const { ended, events } = await lane.run(content);
      expect(ended.code, ended.stderr).toBe(0);
      expect(await lane.judge()).toEqual({ complaints: [], isPublished: true });
      lane.events.push(events);
    }
  }
  say(`killed: runs of ${all[0]?.events.join(" and ")} events; ${isBuilt ? "the built program" : "its sources"}`);
});
afterAll(async () => {
  for (const lane of all) {
    lane.client.destroy();
    await lane.server.stop();
    await lane.minio.stop();
  }
});

/** A run that the signal has met. Packets come in other pieces each time: a point that was not reached is brought nearer. */
async function struckRun(lane: Lane, index: number, random: Random, signal: NodeJS.Signals) {
  const size = sizes.findIndex(({ every }) => index % every === 0);
  const all = lane.events[size] ?? 1;
  for (let nth = random.between(1, all); ; nth = Math.ceil(nth * 0.9)) {
    const { ended, isStruck, stoppedMs } = await lane.run(sizes[size]?.content ?? small, { nth, signal });
    if (isStruck) return { ended, stoppedMs, where: `${signal} at ${nth} of ${all}` };
    const { complaints } = await lane.judge();
    if (complaints.length > 0) throw new Error(`undisturbed: ${complaints.join("; ")}`);
  }
}

function laneOf(at: number): Lane {
  const lane = all[at];
  if (lane === undefined) throw new RangeError(`no lane ${at}`);
  return lane;
}

test("killed", async () => {
  const seen = { published: 0, uploadsLeft: 0 };
  await sweep({
    ...{ name: "killed", file, cases: 1000, sample: 10, lanes },
    async run(index, random, at) {
      const lane = laneOf(at);
      const { where } = await struckRun(lane, index, random, "SIGKILL");
      const { complaints, isPublished } = await lane.judge();
      if (isPublished) seen.published += 1;
      if (lane.minio.openUploads().length > 0) seen.uploadsLeft += 1;
      lock.expire(lane);
      const next = await lane.run(small);
      const after = await lane.judge();
      const found = [...complaints, ...after.complaints.map((each) => `the next run: ${each}`)];
      if (next.ended.code !== 0) found.push(`the next run failed: ${next.ended.stderr}`);
      for (const upload of lane.minio.openUploads()) found.push(`after the next run an upload is open: ${upload}`);
      if (lock.holder(lane) !== "") found.push("after the next run the lock is held");
      return found.length === 0 ? undefined : `${where}: ${found.join("; ")}`;
    },
  });
  say(`killed: ${seen.published} had published, ${seen.uploadsLeft} had left an upload open`);
});

test("stopped", async () => {
  let longestMs = 0;
  await sweep({
    ...{ name: "stopped", file, cases: 200, sample: 6, lanes },
    async run(index, random, at) {
      const lane = laneOf(at);
      const signal = index % 2 === 0 ? "SIGINT" : "SIGTERM";
      const { ended, stoppedMs, where } = await struckRun(lane, index, random, signal);
      longestMs = Math.max(longestMs, stoppedMs);
      const { complaints, isPublished } = await lane.judge();
      const found = [...complaints, ...complaintsAboutEnd(ended, signal, isPublished)];
      if (stoppedMs > stopMs) found.push(`it took ${Math.round(stoppedMs)} ms`);
      for (const upload of lane.minio.openUploads()) found.push(`an upload is open: ${upload}`);
      if (lock.holder(lane) !== "") found.push("the lock is held");
      return found.length === 0 ? undefined : `${where}: ${found.join("; ")}`;
    },
  });
  say(`stopped: the longest took ${Math.round(longestMs)} ms from the signal`);
});

function complaintsAboutEnd({ code, stderr }: Ended, signal: string, isPublished: boolean): string[] {
  const { interrupted, terminated } = outcomes;
  const expected = isPublished ? 0 : (signal === "SIGINT" ? interrupted : terminated).code;
  return code === expected ? [] : [`exit code ${code}, not ${expected}: ${stderr}`];
}
