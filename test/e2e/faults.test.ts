/** The worst moments on the real cluster: whatever happens in mid-dump, nothing is published, nothing is left. */

import { readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bedEnvironment, inPod, kubectl, program, type Ran, resetBed } from "./bed.ts";

const production = ["-n", "production-kaa"];
const create = ["create", ...production, "--storage", "postgresql"];

beforeAll(async () => {
  await resetBed("production-kaa");
  await inPod(
    "production-kaa",
    "postgresql",
    "psql -qX -d postgres -c 'create table big as select n, md5(n::text) || md5((n + 1)::text) as text from generate_series(1, 4000000) n'",
  );
});
afterAll(async () => {
  await inPod("production-kaa", "postgresql", "psql -qX -d postgres -c 'drop table if exists big'");
  await freeLock();
});

/** A dead run's lock is free after a minute and a half; what comes next does not wait for it. */
async function freeLock(): Promise<void> {
  await kubectl([...production, "delete", "lease", "kaa-backup", "--ignore-not-found"]);
}

/** Our processes in the pod, with their ids. */
async function ours(): Promise<string[]> {
  const list = await inPod(
    "production-kaa",
    "postgresql",
    "ps axo pid,args | grep -E 'kaa-backup|pg_dump' | grep -v grep || true",
  );
  return list.split("\n").filter((line) => line.trim() !== "");
}

async function dumpBegins(): Promise<void> {
  for (let n = 0; n < 300; n++) {
    if ((await ours()).some((line) => /pg_dump -Fc/.test(line) && !/sh -c/.test(line))) return;
    await pause(100);
  }
  throw new Error("no pg_dump was seen in the pod");
}

async function published(): Promise<string> {
  return (await program(["list", ...production, "-o", "name"])).stdout;
}

/** Parts of uploads that are open, as they lie on the S3 server's disk. */
function openParts(): string[] {
  const folder = bedEnvironment()["BED_RUN"] ?? "";
  const names = readdirSync(join(folder, "s3"), { recursive: true, encoding: "utf8" });
  return names.filter((name) => /\.minio\.sys\/multipart\/.*part\.\d+/.test(name));
}

async function nothingIsLeft(before: string): Promise<void> {
  expect(await published()).toBe(before);
  for (let n = 0; (await ours()).length > 0; n++) {
    if (n === 20) expect(await ours(), "processes were left in the pod").toEqual([]);
    await pause(500);
  }
}

/** The API server through a door that can be shut. */
async function door(): Promise<{ server: Server; shut(): void; port: number }> {
  const { hostname, port } = new URL(
    (await kubectl(["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])).trim(),
  );
  const open = new Set<Socket>();
  let isShut = false;
  const server = createServer((inside) => {
    if (isShut) {
      inside.destroy();
      return;
    }
    const outside = connect(Number(port || 443), hostname);
    for (const socket of [inside, outside]) {
      open.add(socket);
      socket.on("error", () => {});
    }
    inside.pipe(outside).pipe(inside);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const shut = () => {
    isShut = true;
    for (const socket of open) socket.destroy();
  };
  return { server, shut, port: (server.address() as AddressInfo).port };
}

test("the connection to the API server breaks in mid-dump, and stays away (EX-25)", async () => {
  const before = await published();
  const { server, shut, port } = await door();
  const running = program([...create, "--server", `https://127.0.0.1:${port}`]);
  await dumpBegins();
  shut();
  const ran = await running;
  server.close();
  expect([6, 10], ran.stderr).toContain(ran.code);
  await nothingIsLeft(before);
  expect(openParts()).toEqual([]);
});

test("the dump is killed, again at each attempt (DB-02)", async () => {
  const before = await published();
  let ended: Ran | undefined;
  await freeLock(); // the run before could not release it
  const running = program(create).then((ran) => {
    ended = ran;
  });
  while (ended === undefined) {
    const dump = (await ours()).find((line) => /pg_dump -Fc/.test(line) && !/sh -c/.test(line));
    const pid = dump?.trim().split(/\s+/)[0];
    if (pid !== undefined) await inPod("production-kaa", "postgresql", `kill -KILL ${pid} || true`);
    await pause(200);
  }
  await running;
  expect(ended.code, ended.stderr).toBe(9);
  expect(ended.stderr).toContain("exit code 137");
  await nothingIsLeft(before);
  expect(openParts()).toEqual([]);
});

test("the pod is deleted: the dump is made again from the one that replaces it (EX-22)", async () => {
  const before = await published();
  const running = program([...create, "-o", "name"]);
  await dumpBegins();
  await kubectl([...production, "delete", "pod", "kaa-postgresql-0", "--grace-period=1"]);
  const ran = await running;
  expect(ran.code, ran.stderr).toBe(0);
  expect(ran.stderr).toMatch(/attempt 1 failed/);
  const date = ran.stdout.trim();
  expect(await program(["verify", date, ...production])).toMatchObject({ code: 0 });
  await nothingIsLeft(`${date}\n${before}`);
  expect(openParts()).toEqual([]);
});

test("Ctrl-C: exit code 130, and the database has not noticed (EX-27)", async () => {
  const before = await published();
  const log = () => kubectl([...production, "logs", "kaa-postgresql-0"]);
  const running = program(create, { onStart: (child) => void dumpBegins().then(() => child.kill("SIGINT")) });
  const ran = await running;
  expect(ran.code, ran.stderr).toBe(130);
  await nothingIsLeft(before);
  expect(openParts()).toEqual([]);
  expect(await log()).not.toMatch(/was terminated by signal|terminating any other active server processes/);
});

test("SIGKILL: nothing is published, and the pod cleans up by itself", async () => {
  const before = await published();
  const running = program(create, { onStart: (child) => void dumpBegins().then(() => child.kill("SIGKILL")) });
  expect((await running).code).toBe(null);
  await nothingIsLeft(before);
  const next = await program([...create, "-q"]);
  expect(next.code, "the dead run's lock still holds").toBe(11);
  expect(next.stderr).toMatch(/locked by .* frees itself in \d+ s/s);
});
