/** Snapshots as earlier versions made them. A file here is never changed: if one of these tests fails, the code is wrong. */
import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type Digest, digestOf } from "../../src/base/bytes.ts";
import { isOutcome } from "../../src/base/errors.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import { fileOf, make, never, whole } from "./make.ts";
import { writerDumps } from "./make-golden.ts";

const folder = new URL("golden/v1/", import.meta.url);

function titles(verdict: "good" | "bad"): string[] {
  return readdirSync(new URL(`${verdict}/`, folder));
}

function load(verdict: "good" | "bad", title: string) {
  const at = new URL(`${verdict}/${title}/`, folder);
  const [fileName = "", ...more] = readdirSync(at);
  if (more.length > 0) throw new Error(`more than one file in ${verdict}/${title}`);
  return { fileName, bytes: readFileSync(new URL(fileName, at)) };
}

/** What each good file has given since it was made. */
const expected: Record<string, Record<string, Digest>> = JSON.parse(readFileSync(new URL("good.json", folder), "utf8"));

test("no golden file has gone", () => {
  expect(titles("good").toSorted()).toEqual(Object.keys(expected).toSorted());
  expect(titles("bad").length).toBeGreaterThanOrEqual(19);
});

describe("for ever readable is", () => {
  test.each(titles("good"))("%s", async (title) => {
    const snapshot = await openSnapshot(fileOf(load("good", title)), never);
    await snapshot.verifyAll(never);
    await snapshot.verifyInstances(snapshot.manifest.instances, never);
    const found: Record<string, Digest> = {};
    for (const instance of snapshot.manifest.instances) {
      for (const stream of instance.streams) {
        const stored = await whole(snapshot.readStream(instance, stream, never));
        found[`${instance.folder}/${stream.name}`] = digestOf(stored);
        const plain = stream.encoding === "gzip" ? gunzipSync(stored) : stored;
        expect(digestOf(plain)).toEqual(stream.plain);
      }
    }
    expect(found).toEqual(expected[title]);
  });
});

describe("for ever refused is", () => {
  test.each(titles("bad"))("%s", async (title) => {
    const file = fileOf(load("bad", title));
    const error = await openSnapshot(file, never)
      .then((snapshot) => snapshot.verifyAll(never))
      .catch((thrown) => thrown);
    expect(isOutcome(error, "invalid-snapshot")).toBe(true);
  });
});

test("the writer makes the same tar today, up to the manifest, which tells where zlib let the members end", async () => {
  const upToManifest = (tar: Buffer) => tar.subarray(0, tar.lastIndexOf("manifest.json\0"));
  const golden = upToManifest(gunzipSync(load("good", "writer").bytes));
  const today = upToManifest(gunzipSync((await make(writerDumps())).bytes));
  expect(golden.byteLength).toBeGreaterThan(8 * 1024 * 1024);
  expect(digestOf(today)).toEqual(digestOf(golden));
});
