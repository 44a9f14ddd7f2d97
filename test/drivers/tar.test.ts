/** Tar archives of engines: read as a stream, in pieces of any size, and never taken for whole when they are not. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Bytes, collect } from "../../src/base/bytes.ts";
import { checkAlong, tarEnd, tarEntries, tarHeader, tarMembers, tarPadding } from "../../src/drivers/tar.ts";

const contents = { "a.json": Buffer.from("{}"), "b.data": Buffer.alloc(1300, "x"), empty: Buffer.alloc(0) };
const archive = Buffer.concat([
  ...Object.entries(contents).flatMap(([name, content]) => [
    tarHeader(name, content.byteLength),
    content,
    tarPadding(content.byteLength),
  ]),
  tarEnd,
]);

async function* inPieces(bytes: Buffer, size: number): Bytes & AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.byteLength; from += size) yield bytes.subarray(from, from + size);
}

async function entriesOf(bytes: Bytes): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { name, content } of tarEntries(bytes)) found[name] = (await collect(content, 10_000)).toString();
  return found;
}

const expected = Object.fromEntries(Object.entries(contents).map(([name, content]) => [name, content.toString()]));

test.each([1, 7, 511, 512, 513, 100_000])("is read in pieces of %d bytes", async (size) => {
  expect(await entriesOf(inPieces(archive, size))).toEqual(expected);
});

test("is what the system's tar reads and writes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kaa-tar-"));
  try {
    writeFileSync(join(folder, "ours.tar"), archive);
    execFileSync("tar", ["xf", "ours.tar"], { cwd: folder });
    const theirs = execFileSync("tar", ["cf", "-", ...Object.keys(contents)], { cwd: folder });
    expect(await entriesOf(inPieces(theirs, 1000))).toEqual(expected);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("content that nobody reads is skipped", async () => {
  const names: string[] = [];
  for await (const { name } of tarEntries(inPieces(archive, 100))) names.push(name);
  expect(names).toEqual(Object.keys(contents));
});

test("sizes beyond what eleven octal digits hold are kept", async () => {
  const size = 9 * 1024 ** 3;
  const { value } = await tarEntries(inPieces(tarHeader("large", size), 512)).next();
  expect(value).toMatchObject({ name: "large", sizeBytes: size });
});

describe("a damaged one is refused", () => {
  test.each([0, 100, 512, 600, 1024, 2000, archive.byteLength - 1025])("cut at %d", async (at) => {
    await expect(entriesOf(inPieces(archive.subarray(0, at), 300))).rejects.toThrow(/its tar/);
  });

  test.each([0, 50, 124, 130, 148, 151, 156, 300])("a header with byte %d flipped", async (at) => {
    const damaged = Buffer.from(archive);
    damaged.writeUInt8(damaged.readUInt8(at) ^ 1, at);
    await expect(entriesOf(inPieces(damaged, 300))).rejects.toThrow(/in its tar/);
  });

  test("content with a bit flipped has another hash", async () => {
    const damaged = Buffer.from(archive);
    damaged.writeUInt8(damaged.readUInt8(520) ^ 1, 513);
    const hashes = async (bytes: Buffer) => {
      const found: string[] = [];
      for await (const { sha256 } of tarMembers(inPieces(bytes, 99), 10)) found.push(sha256);
      return found;
    };
    expect(await hashes(damaged)).not.toEqual(await hashes(archive));
  });
});

describe("checkAlong()", () => {
  test("passes everything through when the check is content", async () => {
    const seen: number[] = [];
    const check = async (bytes: Bytes) => {
      for await (const chunk of bytes) seen.push(chunk.byteLength);
    };
    expect((await collect(checkAlong(inPieces(archive, 700), check), 100_000)).equals(archive)).toBe(true);
    expect(seen.reduce((sum, each) => sum + each, 0)).toBe(archive.byteLength);
  });

  test("throws what the check throws, even when it throws at the end", async () => {
    const check = async (bytes: Bytes) => {
      for await (const _ of bytes);
      throw new Error("not whole");
    };
    await expect(collect(checkAlong(inPieces(archive, 700), check), 100_000)).rejects.toThrow("not whole");
  });

  test("throws what the source throws", async () => {
    async function* broken() {
      yield archive.subarray(0, 600);
      throw new Error("the connection is lost");
    }
    const check = async (bytes: Bytes) => {
      for await (const _ of bytes);
    };
    await expect(collect(checkAlong(broken(), check), 100_000)).rejects.toThrow("the connection is lost");
  });

  test("does not wait for a check that has seen enough", async () => {
    const bytes = checkAlong(inPieces(archive, 700), async () => {});
    expect((await collect(bytes, 100_000)).byteLength).toBe(archive.byteLength);
  });
});
