/** A database of 4 GiB through the chart's Job: what the kernel has counted of its memory, under its own limit. Not for every
 *  day: it takes ten minutes and 10 GB of disk. `npm run test:e2e:large` */
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inPod, kubectl, program } from "../bed.ts";
import { processOf } from "../containers.ts";
import { type Deployment, prepareDeployment } from "../deployment.ts";
import { eventually } from "../in-cluster.ts";

const namespace = "production-kaa";
const here = ["-n", namespace];
const mebi = 1024 * 1024;
const limitBytes = 256 * mebi;
const databaseBytes = 4096 * mebi;
let chart: Deployment;

const psql = (sql: string, database = "postgres") =>
  inPod(namespace, "postgresql", `psql -qXAt -v ON_ERROR_STOP=1 -d ${database} -f -`, sql);

beforeAll(async () => {
  chart = await prepareDeployment(namespace, { schedule: "0 0 1 1 *", storages: ["postgresql"] });
  await psql("drop database if exists large with (force)");
  await psql("create database large");
  // 64 MiB that cannot be compressed, 64 times: the same bytes come again only after more than any compressor looks back.
  await psql(
    "create extension pgcrypto; create unlogged table blobs as select gen_random_bytes(1024) as blob from generate_series(1, 65536)",
    "large",
  );
  for (let copies = 1; copies < 64; copies *= 2) await psql("insert into blobs select blob from blobs", "large");
  expect(Number(await psql("select pg_database_size('large')"))).toBeGreaterThan(databaseBytes);
  await chart.install();
});
afterAll(async () => {
  await chart?.remove();
  await chart?.bucket.remove();
  await psql("drop database if exists large with (force)");
});

/** The kernel's figures of the control group of a process: cgroup v2, or the memory controller of v1. */
function memoryOf(pid: number): { readonly peakBytes: number; readonly ownBytes: number } {
  const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8").split("\n");
  const old = groups.find((line) => line.split(":")[1] === "memory")?.split(":")[2];
  const path = old === undefined ? `/sys/fs/cgroup${groups[0]?.split(":")[2]}` : `/sys/fs/cgroup/memory${old}`;
  const read = (name: string) => readFileSync(`${path}/${name}`, "utf8");
  const [, own] = /^(?:total_rss|anon) (\d+)$/m.exec(read("memory.stat")) ?? [];
  return {
    peakBytes: Number(read(old === undefined ? "memory.peak" : "memory.max_usage_in_bytes")),
    ownBytes: Number(own),
  };
}

/** Watches the container of a pod until it ends. */
async function watchMemory(pod: string) {
  const pid = await processOf(namespace, pod);
  let [peakBytes, ownBytes] = [0, 0];
  for (;;) {
    try {
      const now = memoryOf(pid);
      peakBytes = Math.max(peakBytes, now.peakBytes);
      ownBytes = Math.max(ownBytes, now.ownBytes);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ESRCH" && code !== "ENODEV") throw error;
      return { peakBytes, ownBytes };
    }
    await pause(200);
  }
}

test("a backup of 4 GiB stays below the Job's limit of 256 MiB", { timeout: 3_000_000 }, async () => {
  const running = program(["schedule", "run", "--wait", ...here]);
  const pod = await eventually(
    "a pod runs",
    60,
    async () => (await chart.podsOf("backup")).find(({ phase }) => phase === "Running")?.name,
  );
  const limit = await kubectl([
    ...here,
    "get",
    "pod",
    pod,
    "-o",
    "jsonpath={.spec.containers[0].resources.limits.memory}",
  ]);
  expect(limit).toBe("256Mi");
  const { peakBytes, ownBytes } = await watchMemory(pod);
  const ran = await running;
  expect(ran.code, ran.stderr).toBe(0);
  process.stdout.write(
    `peak ${Math.round(peakBytes / mebi)} MiB, of which the program's own ${Math.round(ownBytes / mebi)} MiB\n`,
  );
  expect(peakBytes).toBeGreaterThan(20 * mebi); // it was looked at
  expect(peakBytes).toBeLessThan(limitBytes);
  const [snapshot] = JSON.parse((await program(["list", ...here, "-o", "json"])).stdout).snapshots;
  expect(snapshot.sizeBytes).toBeGreaterThan(databaseBytes * 0.95);
});
