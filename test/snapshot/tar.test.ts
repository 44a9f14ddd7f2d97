import { Header } from "tar/header";
import { Pax } from "tar/pax";
import { expect, test } from "vitest";
import { tarEnd, tarHead, tarPadding } from "../../src/snapshot/tar.ts";

const modifiedAt = new Date("2021-02-12T15:28:37Z");

/** Decodes with another implementation than ours. */
function decode(head: Buffer): Header {
  const first = new Header(head, 0);
  if (first.type !== "ExtendedHeader") return first;
  const record = head.toString("utf8", 512, 512 + (first.size ?? 0));
  return new Header(head, head.byteLength - 512, Pax.parse(record));
}

test.each([1, 99, 100, 101, 155, 256, 480, 991, 992, 3_000])(
  "another tar reads the head of a path of %i characters",
  (length) => {
    const path = "p/"
      .repeat(length)
      .slice(0, length - 1)
      .concat("x");
    const head = tarHead({ path, sizeBytes: 8_388_608, modifiedAt });
    // Nothing stands in front of a path that fits.
    if (length <= 100) expect(head.byteLength).toBe(512);
    else expect([head.byteLength % 512, head.byteLength > 1024]).toEqual([0, true]);
    const decoded = decode(head);
    expect(decoded).toMatchObject({
      path,
      size: 8_388_608,
      type: "File",
      mode: 0o600,
      uid: 0,
      gid: 0,
      mtime: modifiedAt,
    });
    expect(decoded.cksumValid).toBe(true);
  },
);

test("the length of a pax record counts itself, also where it grows by a digit", () => {
  for (let length = 101; length < 1_100; length += 1) {
    const head = tarHead({ path: "n".repeat(length), sizeBytes: 0, modifiedAt });
    const record = head.toString("latin1", 512, 512 + (new Header(head, 0).size ?? 0));
    expect(Number.parseInt(record, 10)).toBe(record.length);
  }
});

test.each([8 ** 11, -1, 0.5, Number.NaN])("a size of %d does not fit", (sizeBytes) => {
  expect(() => tarHead({ path: "a", sizeBytes, modifiedAt })).toThrow(RangeError);
});

test("a time before 1970 does not fit", () => {
  expect(() => tarHead({ path: "a", sizeBytes: 0, modifiedAt: new Date(-1) })).toThrow(RangeError);
});

test("padding fills the last block with zeros", () => {
  expect([0, 1, 511, 512, 513, 1024].map((size) => tarPadding(size).byteLength)).toEqual([0, 511, 1, 0, 511, 0]);
  expect(Buffer.concat([tarPadding(1), tarEnd]).every((byte) => byte === 0)).toBe(true);
});
