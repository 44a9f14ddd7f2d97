/** A small snapshot of every feature, damaged in every way: `verify` and `restore --all` refuse it, and nothing in the cluster
 *  is touched. A restore of one storage refuses damage to what it reads, and hands over nothing but what was dumped. */
import { expect, test } from "vitest";
import { isOutcome } from "../../src/base/errors.ts";
import { restore } from "../../src/restore.ts";
import { readContents } from "../../src/snapshot/reader.ts";
import type { Manifest, Segment } from "../../src/snapshot/toc.ts";
import { verify } from "../../src/verify.ts";
import { silentReporter } from "../fakes/reporter.ts";
import { fileOf, never } from "../snapshot/make.ts";
import { smallSnapshot } from "../snapshot/small.ts";
import { damages, takeApart } from "./damage.ts";
import { memoryStore } from "./memory-store.ts";
import { type Random, sweep } from "./sweep.ts";
import { instanceOfMariadb, snapshotOfThree } from "./three-storages.ts";
import { UntouchedCluster } from "./untouched-cluster.ts";

const small = await smallSnapshot();
const parts = takeApart(small, await readContents(fileOf(small), never));
const kinds = Object.entries(damages);
const file = "test/sweeps/corruption.test.ts";
const sizeBytes = small.bytes.byteLength;
const damagedCases = 500_000;

/** What `verify` and `restore --all` make of a file; undefined when both refuse it and nothing was touched. */
async function complaintAbout(bytes: Buffer): Promise<string | undefined> {
  const store = memoryStore({ fileName: small.fileName, bytes });
  const verified = await endOf(verify(store, parts.manifest.name, { reporter: silentReporter, signal: never }));
  const cluster = new UntouchedCluster("postgresql");
  const restored = await endOf(restore(restoreAll, cluster.scope, store));
  if (verified !== "refused") return `verify: ${verified}`;
  if (restored !== "refused") return `restore: ${restored}`;
  return cluster.touched.length > 0 ? `touched: ${cluster.touched.join(", ")}` : undefined;
}

const restoreAll = {
  date: parts.manifest.name,
  sourceNamespace: parts.manifest.namespace,
  storages: ["postgresql"],
  named: false,
  dryRun: false,
  confirm: async () => {
    throw new Error("asked for confirmation");
  },
} as const;

async function endOf(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => "accepted",
    (error) => (isOutcome(error, "invalid-snapshot") ? "refused" : error),
  );
}

test("whole it is accepted, and a restore then looks at its target", async () => {
  const store = memoryStore(small);
  expect(await endOf(verify(store, parts.manifest.name, { reporter: silentReporter, signal: never }))).toBe("accepted");
  const cluster = new UntouchedCluster("postgresql");
  expect(await endOf(restore(restoreAll, cluster.scope, store))).not.toBe("refused");
  expect(cluster.touched).toEqual(["execute"]);
});

test("any one bit flipped", async () => {
  await sweep({
    ...{ name: "any one bit flipped", file, cases: sizeBytes * 8, sample: 1500, lanes: 8 },
    run: (index) => {
      const bytes = Buffer.from(small.bytes);
      bytes.writeUInt8(bytes.readUInt8(index >> 3) ^ (1 << (index & 7)), index >> 3);
      return complaintAbout(bytes);
    },
  });
});

test("cut at any length", async () => {
  await sweep({
    ...{ name: "cut at any length", file, cases: sizeBytes, sample: 500, lanes: 8 },
    run: (index) => complaintAbout(small.bytes.subarray(0, index)),
  });
});

test("damaged in every way", async () => {
  await sweep({
    ...{ name: "damaged in every way", file, cases: damagedCases, sample: 2500, lanes: 8 },
    async run(index, random) {
      const [kind, bytes] = await damaged(index, random);
      const complaint = await complaintAbout(bytes);
      return complaint && `${kind}: ${complaint}`;
    },
  });
});

test("a restore of one storage out of three: refused, or exactly what was dumped", async () => {
  const { file: three, database, restoreOne } = await snapshotOfThree();
  const read = readRanges(three.manifest);
  let refused = 0;
  await sweep({
    ...{ name: "one storage of three", file, cases: three.bytes.byteLength * 8, sample: 800, lanes: 4 },
    async run(index) {
      const at = index >> 3;
      const bytes = Buffer.from(three.bytes);
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (index & 7)), at);
      const { ended, content, asked } = await restoreOne(memoryStore({ ...three, bytes }));
      const verdict = await endOf(ended);
      if (read.some(({ offset, length }) => at >= offset && at < offset + length)) {
        refused += 1;
        if (verdict !== "refused" || asked() > 0) return `byte ${at} is read: ${verdict}, ${asked()} commands`;
      } else if (verdict !== "accepted" || content() !== database) return `byte ${at} is not read: ${verdict}`;
      return undefined;
    },
  });
  expect(refused).toBeGreaterThan(0);
});

/** What a restore of MariaDB alone reads: its segments, the header, the table of contents and the footer. */
function readRanges(manifest: Manifest): readonly Pick<Segment, "offset" | "length">[] {
  const segments = manifest.instances.flatMap(({ streams }) => streams.flatMap((stream) => stream.segments));
  const end = Math.max(...segments.map(({ offset, length }) => offset + length));
  const own = instanceOfMariadb(manifest).streams.flatMap((stream) => stream.segments);
  return [manifest.headerSegment, ...own, { offset: end, length: Number.POSITIVE_INFINITY }];
}

/** Damage that changes nothing, such as a run of zeros where there were zeros, is none: another is made. */
async function damaged(index: number, random: Random): Promise<readonly [string, Buffer]> {
  const [kind, damage] = kinds[index % kinds.length] ?? random.pick(kinds);
  for (;;) {
    const bytes = await damage(parts, random);
    if (bytes !== undefined && !bytes.equals(small.bytes)) return [kind, bytes];
  }
}
