/** Entries that are wrong although every hash is right: what is refused here is refused for what the member holds. */
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import {
  close,
  entryMember,
  headerEntry,
  lay,
  manifestOf,
  memberOf,
  refusal,
  slices,
  streamOf,
  threeSegments,
} from "./forge.ts";
import { fileOf, never, noise, whole } from "./make.ts";

const folder = "postgresql/kaa-postgresql";
const content = noise(900);

/** The same with one segment's member replaced by other bytes, for which the manifest vouches. */
async function withMember(member: Buffer, contentBytes = 300): Promise<string> {
  const replaced = { path: "", content: Buffer.alloc(contentBytes), member };
  return refusal(
    await threeSegments(content, ([first, a, , c]) => [first, a, replaced, c].flatMap((entry) => entry ?? [])),
  );
}

describe("a member that its hash vouches for is refused", () => {
  const middle = `${folder}/a.000001`;
  const slice = content.subarray(300, 600);
  const tarOf = async (path: string, change: (tar: Buffer) => void) => {
    const tar = gunzipSync(await entryMember(path, slice));
    change(tar);
    return memberOf(tar);
  };
  /** Writes into a tar header and puts its checksum right. */
  const field = (at: number, text: string) => (tar: Buffer) => {
    tar.write(text, at, "latin1");
    tar.write("        ", 148, "latin1");
    const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  };

  test.each([
    ["climbs (AR-05)", "../../etc/passwd\0"],
    ["has an absolute name (AR-05)", "/etc/passwd\0"],
    ["has its neighbour's name (AR-04)", `${folder}/a.000002`],
  ])("when its entry %s", async (_, path) => {
    expect(await withMember(await tarOf(middle, field(0, path)))).toMatch(
      /"postgresql.*a.000001" at \d+: not the tar entry/,
    );
  });

  test.each([
    ["a symbolic link", "2"],
    ["a hard link", "1"],
    ["a character device", "3"],
    ["a directory", "5"],
    ["a FIFO", "6"],
    ["a GNU long name", "L"],
    ["a GNU sparse file", "S"],
    ["a global pax header", "g"],
    ["a pax header", "x"],
    ["a regular file in the old way", "\0"],
  ])("when its entry is %s (AR-06)", async (_, type) => {
    expect(await withMember(await tarOf(middle, field(156, type)))).toMatch(/not the tar entry/);
  });

  test.each([
    ["another size (AR-04)", 124, "00000000455\0"],
    ["a size in base 256", 124, "\x80"],
    ["another time", 136, "00000000000\0"],
    ["the set-user-id bit (AR-06)", 100, "0004755\0"],
    ["an owner", 108, "0001750\0"],
    ["a link's target", 157, "/etc/passwd"],
    ["a user's name", 265, "root"],
    ["a prefix", 345, "evil"],
    ["the magic of GNU", 257, "ustar  \0"],
  ])("when its entry has %s", async (_, at, text) => {
    expect(await withMember(await tarOf(middle, field(at, text)))).toMatch(/not the tar entry/);
  });

  test("when its padding is not zero", async () => {
    const member = await tarOf(middle, (tar) => void tar.writeUInt8(1, tar.byteLength - 1));
    expect(await withMember(member)).toMatch(/not the tar entry/);
  });

  test("when it holds a second entry (AR-04)", async () => {
    const both = Buffer.concat([
      gunzipSync(await entryMember(middle, slice)),
      gunzipSync(await entryMember("evil", slice)),
    ]);
    expect(await withMember(memberOf(both))).toMatch(/not the tar entry/);
  });

  test("when it is two members", async () => {
    const tar = gunzipSync(await entryMember(middle, slice));
    const member = Buffer.concat([memberOf(tar.subarray(0, 512)), memberOf(tar.subarray(512))]);
    expect(await withMember(member)).toMatch(/not the tar entry/);
  });

  test("when it is a bomb (AR-07)", async () => {
    expect(await withMember(memberOf(Buffer.alloc(100_000_000)))).toMatch(/not the tar entry/);
  });

  test("when it is not gzip at all", async () => {
    expect(await withMember(noise(700))).toMatch(/not the tar entry/);
  });

  test("when it holds what belongs to the stream, but not there", async () => {
    const swapped = await threeSegments(content, ([first, a, b, c]) =>
      [first, b, a, c].flatMap((entry) => entry ?? []),
    );
    expect(await refusal(swapped)).toMatch(/not the tar entry/);
  });

  test("when it has the right name and other content", async () => {
    expect(await withMember(await entryMember(middle, noise(300, "other")))).toMatch(/stream "a": not what was stored/);
  });
});

test("a stream whose segments are right one by one and wrong together does not end well", async () => {
  const other = { path: `${folder}/a.000001`, content: noise(300, "other") };
  const file = await threeSegments(content, ([first, a, , c]) => [first, a, other, c].flatMap((entry) => entry ?? []));
  const snapshot = await openSnapshot(fileOf(file), never);
  const [instance] = snapshot.manifest.instances;
  const [stream] = instance?.streams ?? [];
  if (instance === undefined || stream === undefined) throw new Error("not there");
  await expect(whole(snapshot.readStream(instance, stream, never))).rejects.toThrow(/stream "a": not what was stored/);
});

describe("a stream that a pod has compressed is refused", () => {
  const plain = Buffer.alloc(100_000, "log line\n");
  const packed = gzipSync(plain);

  async function packedAs(stored: Buffer, claimed: Buffer): Promise<string> {
    const { body, segments } = await lay([headerEntry(), ...slices(`${folder}/log.gz`, stored, 100)]);
    const stream = streamOf("log", stored, segments.slice(1), { encoding: "gzip", plain: claimed });
    return refusal(await close(body, manifestOf({ headerSegment: segments[0], streams: [stream] })));
  }

  test("not when all is well", async () => {
    expect(await packedAs(packed, plain)).toBe("accepted");
    expect(await packedAs(Buffer.concat([packed, packed]), Buffer.concat([plain, plain]))).toBe("accepted");
  });

  test("when it has not even a gzip header", async () => {
    const entries = [headerEntry(), { path: `${folder}/log.gz.000000`, content: Buffer.alloc(0) }];
    const { body, segments } = await lay(entries);
    const nothing = { encoding: "gzip", plain: Buffer.alloc(0) } as const;
    const streams = [streamOf("log", Buffer.alloc(0), segments.slice(1), nothing)];
    const file = await close(body, manifestOf({ headerSegment: segments[0], streams }));
    expect(await refusal(file)).toMatch(/streams\[0\].stored: nothing, and that is no gzip/);
  });

  test.each([
    ["when it unpacks to something else", packed, Buffer.alloc(100_000, "Log line\n"), /not what was dumped/],
    ["when it unpacks to less", packed, Buffer.alloc(100_001, "log line\n"), /not what was dumped/],
    ["when it unpacks to more", packed, plain.subarray(0, -1), /not the gzip stream/],
    ["when it is cut", packed.subarray(0, -1), plain, /not the gzip stream/],
    ["when it is damaged", Buffer.concat([packed.subarray(0, 100), noise(50)]), plain, /not the gzip stream/],
    ["when it is no gzip", noise(1_000), plain, /not the gzip stream/],
    ["when it is a bomb (AR-07)", gzipSync(Buffer.alloc(50_000_000)), plain, /not the gzip stream/],
  ])("%s", async (_, stored, claimed, message) => {
    expect(await packedAs(stored, claimed)).toMatch(message);
  });
});
