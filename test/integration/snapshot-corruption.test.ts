/** Damage and cuts, without sampling: every bit and every length of a small snapshot. */
import { describe, expect, test } from "vitest";
import { isOutcome } from "../../src/base/errors.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import type { InstanceEntry } from "../../src/snapshot/toc.ts";
import { dumpOf, fileOf, make, never, noise } from "../snapshot/make.ts";
import { smallSnapshot } from "../snapshot/small.ts";

const small = await smallSnapshot();
const bits = [0, 1, 2, 3, 4, 5, 6, 7];

function flipped(bytes: Buffer, at: number, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << bit), at);
  return copy;
}

async function verdictOn(bytes: Buffer): Promise<unknown> {
  try {
    const snapshot = await openSnapshot(fileOf({ ...small, bytes }), never);
    await snapshot.verifyAll(never);
    return "accepted";
  } catch (error) {
    return isOutcome(error, "invalid-snapshot") ? "refused" : error;
  }
}

describe("a snapshot of every feature", () => {
  test("is small, and right to begin with", async () => {
    expect(small.bytes.byteLength).toBeGreaterThan(4_000);
    expect(small.bytes.byteLength).toBeLessThan(12_000);
    expect(await verdictOn(small.bytes)).toBe("accepted");
  });

  test("is refused with any single bit flipped (AR-01)", async () => {
    for (let at = 0; at < small.bytes.byteLength; at += 1) {
      const verdicts = await Promise.all(bits.map((bit) => verdictOn(flipped(small.bytes, at, bit))));
      if (verdicts.some((verdict) => verdict !== "refused")) expect.fail(`byte ${at}: ${verdicts}`);
    }
  });

  test("is refused when cut at any length (AR-02)", async () => {
    for (let length = 0; length < small.bytes.byteLength; length += 1) {
      const verdict = await verdictOn(small.bytes.subarray(0, length));
      if (verdict !== "refused") expect.fail(`cut to ${length} bytes: ${verdict}`);
    }
  });

  test("is refused when its beginning is missing, at any length", async () => {
    for (let length = 1; length < small.bytes.byteLength; length += 1) {
      const verdict = await verdictOn(small.bytes.subarray(length));
      if (verdict !== "refused") expect.fail(`without its first ${length} bytes: ${verdict}`);
    }
  });

  test("is refused with any byte doubled or left out (AR-01)", async () => {
    for (let at = 0; at < small.bytes.byteLength; at += 1) {
      const [before, after] = [small.bytes.subarray(0, at), small.bytes.subarray(at + 1)];
      const byte = small.bytes.subarray(at, at + 1);
      for (const bytes of [Buffer.concat([before, after]), Buffer.concat([before, byte, byte, after])]) {
        const verdict = await verdictOn(bytes);
        if (verdict !== "refused") expect.fail(`${bytes.byteLength} bytes, changed at ${at}: ${verdict}`);
      }
    }
  });
});

test("a selective verify refuses any flip in what it reads, and does not read the rest", async () => {
  const made = await make([
    dumpOf("vault", "kaa-vault", { name: "secrets", content: noise(100) }),
    dumpOf("mariadb", "kaa-mariadb", { name: "a.sql", content: noise(90, "a") }, { name: "b.sql", content: noise(9) }),
    dumpOf("influxdb", "kaa-influxdb", { name: "all", content: noise(80, "all") }),
  ]);
  const wanted = made.manifest.instances[1];
  const segments = wanted?.streams.flatMap((stream) => stream.segments) ?? [];
  const isRead = (at: number) => segments.some(({ offset, length }) => at >= offset && at < offset + length);
  const manifestAt = Math.max(...made.manifest.instances.flatMap(ends));
  for (let at = made.manifest.headerSegment.length; at < manifestAt; at += 1) {
    for (const bit of bits) {
      const snapshot = await openSnapshot(fileOf({ ...made, bytes: flipped(made.bytes, at, bit) }), never);
      const verified = snapshot.verifyInstances(snapshot.manifest.instances.slice(1, 2), never);
      const verdict = await verified.catch((error) => (isOutcome(error, "invalid-snapshot") ? "refused" : error));
      if (verdict !== (isRead(at) ? "refused" : undefined)) expect.fail(`bit ${bit} of byte ${at}: ${verdict}`);
    }
  }
});

function ends(instance: InstanceEntry): number[] {
  return instance.streams.flatMap((stream) => stream.segments.map(({ offset, length }) => offset + length));
}
