import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/base/bytes.ts";
import { decodeFooter, encodeFooter, footerBytes } from "../../src/snapshot/footer.ts";
import { compressMember, expandMember } from "../../src/snapshot/gzip.ts";
import { memberOf } from "./forge.ts";
import { noise } from "./make.ts";

const content = Buffer.concat([noise(10_000), Buffer.alloc(50_000, "row,")]);

async function compressed(level: number): Promise<Buffer> {
  const { pieces, digest } = await compressMember(
    [content.subarray(0, 7), Buffer.alloc(0), content.subarray(7)],
    level,
  );
  const member = Buffer.concat(pieces);
  expect(digestOf(member)).toEqual(digest);
  return member;
}

describe("a member", () => {
  test.each([0, 1, 6, 9])("of level %i is read by any gunzip and by ours", async (level) => {
    const member = await compressed(level);
    expect(gunzipSync(member).equals(content)).toBe(true);
    expect((await expandMember(member, content.byteLength))?.equals(content)).toBe(true);
  });

  test("may be empty", async () => {
    const { pieces } = await compressMember([], 6);
    expect(await expandMember(Buffer.concat(pieces), 0)).toEqual(Buffer.alloc(0));
  });

  test("has a head that tells nothing of the machine or the time", async () => {
    expect((await compressed(6)).subarray(0, 10).toString("hex")).toBe("1f8b08000000000000ff");
  });

  test.each([-1, +1, -content.byteLength])("is refused when %i bytes more than it holds are expected", async (more) => {
    expect(await expandMember(await compressed(6), content.byteLength + more)).toBeUndefined();
  });

  test("never inflates more than is expected of it", async () => {
    const bomb = memberOf(Buffer.alloc(200_000_000));
    const before = process.memoryUsage().arrayBuffers;
    expect(await expandMember(bomb, 1_000)).toBeUndefined();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(10_000_000);
  });

  const good = memberOf(content);
  const flipped = (at: number) => {
    const copy = Buffer.from(good);
    copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
    return copy;
  };
  test.each([
    ["is cut", good.subarray(0, -1)],
    ["has no trailer", good.subarray(0, -8)],
    ["is nothing", Buffer.alloc(0)],
    ["is a head alone", good.subarray(0, 17)],
    ["is followed by a zero byte", Buffer.concat([good, Buffer.alloc(1)])],
    ["is followed by garbage", Buffer.concat([good, Buffer.from("garbage!")])],
    ["is followed by an empty member", Buffer.concat([good, gzipSync("")])],
    ["has garbage before its trailer", Buffer.concat([good.subarray(0, -8), Buffer.from("x"), good.subarray(-8)])],
    ["has a wrong CRC-32", flipped(good.byteLength - 8)],
    ["has a wrong size", flipped(good.byteLength - 4)],
    ["names a system", flipped(9)],
    ["has flags", flipped(3)],
    ["has a time", flipped(4)],
    ["is damaged within", flipped(good.byteLength >> 1)],
  ])("is refused when it %s", async (_, member) => {
    expect(await expandMember(member, content.byteLength)).toBeUndefined();
  });

  test("is refused when it is two, even if their contents make up the whole", async () => {
    const two = Buffer.concat([memberOf(content.subarray(0, 100)), memberOf(content.subarray(100))]);
    expect(gunzipSync(two).equals(content)).toBe(true);
    expect(await expandMember(two, content.byteLength)).toBeUndefined();
  });
});

describe("the footer", () => {
  const manifest = { offset: 123_456_789_012, length: 4_567, bytes: 8_900, sha256: "0123456789abcdef".repeat(4) };
  const footer = encodeFooter(manifest);

  test("is an empty gzip member, and gives back what was put in", () => {
    expect(footer.byteLength).toBe(footerBytes);
    expect(gunzipSync(footer)).toEqual(Buffer.alloc(0));
    expect(decodeFooter(footer)).toEqual(manifest);
  });

  test("has no bit that is free: any flip is refused or changes what it says", () => {
    for (let bit = 0; bit < footerBytes * 8; bit += 1) {
      const copy = Buffer.from(footer);
      copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect(decodeFooter(copy)).not.toEqual(manifest);
    }
  });

  test.each([0, 1, footerBytes - 1, footerBytes + 1])("is refused in %i bytes", (length) => {
    expect(decodeFooter(Buffer.concat([footer, footer]).subarray(0, length))).toBeUndefined();
  });

  test("is refused with numbers that floating point cannot hold", () => {
    const copy = Buffer.from(footer);
    copy.writeBigUInt64LE(2n ** 53n, 24);
    expect(decodeFooter(copy)).toBeUndefined();
  });
});
