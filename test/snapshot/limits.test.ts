/** The writer keeps the reader's ceilings. They are lowered here: the true ones are reached with terabytes. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { dumpOf, noise, optionsOf } from "./make.ts";

const limits = { maxEntries: 3, maxManifestBytes: 4_000 };

beforeEach(() => {
  vi.resetModules();
  vi.doMock("../../src/snapshot/limits.ts", async (original) => ({ ...(await original<object>()), ...limits }));
});
afterEach(() => {
  vi.doUnmock("../../src/snapshot/limits.ts");
  vi.resetModules();
});

/** @returns how many bytes a snapshot of so many streams has. */
async function write(streams: number, name = "s"): Promise<number> {
  const { writeSnapshot } = await import("../../src/snapshot/writer.ts");
  const content = noise(100);
  const given = Array.from({ length: streams }, (_, nth) => ({ name: `${name}${nth}`, content }));
  let bytes = 0;
  for await (const piece of writeSnapshot(optionsOf([dumpOf("vault", "v", ...given)]))) bytes += piece.byteLength;
  return bytes;
}

test("as many entries as are read are written, and no more", async () => {
  expect(await write(2)).toBeGreaterThan(0); // and header.json
  const error = await write(3).catch((thrown) => thrown);
  expect(error).toMatchObject({ outcome: "deadline" });
  expect(error.message).toBe("cannot write the snapshot: more than 3 segments of 8388608 bytes");
});

test("a manifest that is larger than any that is read is not written", async () => {
  await expect(write(2, "n".repeat(2_000))).rejects.toThrow(/^a manifest of \d+ bytes$/);
});
