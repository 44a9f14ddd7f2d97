/** The built program between a pod that dumps fast and a store that takes little. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inPod, kubectl, program } from "./bed.ts";
import { SlowS3 } from "./slow-s3.ts";

const namespace = "production-kaa";
const create = ["create", "-n", namespace, "--storage", "postgresql", "-o", "name"];
const psql = (sql: string) => inPod(namespace, "postgresql", `psql -qX -d postgres -c "${sql}"`);
const begunAt = new Date();
let door: SlowS3;

beforeAll(async () => {
  // About 400 MB, of which pg_dump puts out a half.
  await psql("drop table if exists flood");
  await psql("create table flood as select n, md5(n::text) || md5((-n)::text) as t from generate_series(1, 6000000) n");
  door = await SlowS3.open();
});
afterAll(async () => {
  await door.close();
  await psql("drop table if exists flood");
});

/** Bytes that the dump in the pod has put out; undefined when none runs. */
async function dumpedBytes(): Promise<number | undefined> {
  const script = "pid=$(pgrep -xo pg_dump) && sed -n 's/^wchar: //p' /proc/$pid/io || true";
  const text = (await inPod(namespace, "postgresql", script)).trim();
  return text === "" ? undefined : Number(text);
}

async function dumpBegins(): Promise<void> {
  for (let n = 0; ((await dumpedBytes()) ?? 0) < 50e6; n++) {
    if (n === 300) throw new Error("no pg_dump was seen in the pod");
    await sleep(200);
  }
}

const residentMebibytes = (pid: number, field: "VmRSS" | "VmHWM") =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

test("a store that takes nothing holds the dump back in the pod, and memory does not fill; then it goes on", async () => {
  door.bytesPerSecond = 4e6;
  let watching: Promise<void> | undefined;
  const created = await program(create, {
    env: { AWS_ENDPOINT_URL: door.url },
    onStart({ pid }) {
      watching = (async () => {
        await dumpBegins();
        door.bytesPerSecond = 1;
        await sleep(10_000); // what is on its way arrives
        const before = await dumpedBytes();
        await sleep(10_000);
        expect(await dumpedBytes(), "the dump went on").toBe(before);
        expect(before).toBeLessThan(150e6);
        expect(residentMebibytes(pid ?? 0, "VmHWM")).toBeLessThan(256);
      })().finally(() => {
        door.bytesPerSecond = Number.POSITIVE_INFINITY;
      });
    },
  });
  await watching;
  expect(created.code, created.stderr).toBe(0);
  expect(await program(["verify", created.stdout.trim(), "-n", namespace])).toMatchObject({ code: 0 });
});

/** PostgreSQL is process 1 of its container: an orphan of ours that dies of a signal would be a crash of its own to it. */
async function expectNoRestart(): Promise<void> {
  const log = await kubectl(["-n", namespace, "logs", "kaa-postgresql-0", `--since-time=${begunAt.toISOString()}`]);
  expect(log, "it logs what we have cut off").toMatch(/connection to client lost|unexpected EOF on client connection/);
  expect(log).not.toMatch(/terminated by signal|reinitializing|automatic recovery/);
}

test("Ctrl-C is obeyed at once while the store takes nothing, and the dump in the pod ends", async () => {
  door.bytesPerSecond = 4e6;
  let stoppedAt = 0;
  const before = await program(["list", "-n", namespace, "-o", "name"]);
  const ran = await program(create, {
    env: { AWS_ENDPOINT_URL: door.url },
    onStart(child) {
      void (async () => {
        await dumpBegins();
        door.bytesPerSecond = 1;
        await sleep(3000);
        stoppedAt = Date.now();
        child.kill("SIGINT");
        await sleep(2000);
        door.bytesPerSecond = Number.POSITIVE_INFINITY; // the upload is to be aborted
      })();
    },
  });
  expect(ran.code, ran.stderr).toBe(130);
  expect(Date.now() - stoppedAt).toBeLessThan(15_000);
  for (let n = 0; (await dumpedBytes()) !== undefined; n++) {
    expect(n, "the dump is left in the pod").toBeLessThan(20);
    await sleep(500);
  }
  expect((await program(["list", "-n", namespace, "-o", "name"])).stdout).toBe(before.stdout);
  await expectNoRestart();
});

test("a dump that is stopped at any moment is no crash for PostgreSQL", async () => {
  door.bytesPerSecond = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 12; round++) {
    const ran = await program(create, {
      env: { AWS_ENDPOINT_URL: door.url },
      onStart: (child) => void setTimeout(() => child.kill("SIGINT"), 400 + round * 350),
    });
    expect([0, 130], ran.stderr).toContain(ran.code);
  }
  while ((await dumpedBytes()) !== undefined) await sleep(500);
  await expectNoRestart();
}, 300_000);
