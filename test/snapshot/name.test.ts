import { describe, expect, test } from "vitest";
import {
  parseSnapshotFileName,
  parseSnapshotName,
  snapshotFileName,
  snapshotName,
} from "../../src/base/snapshot-name.ts";

test("a snapshot is named by the UTC second in which its run began", () => {
  expect(snapshotName(new Date("2021-02-12T15:28:37.999Z"))).toBe("12-02-2021-15-28-37");
  expect(snapshotName(new Date("2021-02-12T23:28:37-08:00"))).toBe("13-02-2021-07-28-37");
});

test.each(["-271821-04-20T00:00:00Z", "+010000-01-01T00:00:00Z"])(
  "%s has no name, for its year has no four digits",
  (time) => {
    expect(() => snapshotName(new Date(time))).toThrow(RangeError);
  },
);

describe("parseSnapshotName()", () => {
  test.each(["12-02-2021-15-28-37", "29-02-2024-00-00-00", "16-03-2242-12-56-31", "01-01-1970-00-00-00"])(
    "reads %s, and back",
    (name) => {
      const startedAt = parseSnapshotName(name);
      expect(startedAt && snapshotName(startedAt)).toBe(name);
    },
  );

  test.each([
    "",
    "2021-02-12-15-28-37",
    "12-02-2021-15-28-37 ",
    "\n12-02-2021-15-28-37",
    "12-02-2021-15-28-37\n",
    "12-2-2021-15-28-37",
    "31-04-2021-00-00-00",
    "29-02-2023-00-00-00",
    "29-02-1900-00-00-00",
    "00-01-2021-00-00-00",
    "01-00-2021-00-00-00",
    "01-13-2021-00-00-00",
    "01-01-2021-24-00-00",
    "01-01-2021-23-60-00",
    "01-01-2021-23-59-60",
    "١٢-02-2021-15-28-37",
    "12-02-2021-15-28-37.tar.gz",
    // The entries of an archive cannot be of these dates.
    "16-03-2242-12-56-32",
    "31-12-9999-23-59-59",
    "31-12-1969-23-59-59",
    "01-01-0000-00-00-00",
  ])("refuses %j", (name) => {
    expect(parseSnapshotName(name)).toBeUndefined();
  });
});

describe("the name of a file", () => {
  const startedAt = new Date("2021-02-12T15:28:37Z");
  const name = "12-02-2021-15-28-37";

  test.each([true, false])("says whether the snapshot is partial: %s", (partial) => {
    const fileName = snapshotFileName(name, { partial });
    expect(parseSnapshotFileName(fileName)).toEqual({ name, startedAt, partial });
  });

  test.each([
    name,
    `${name}.tar`,
    `${name}.tar.gz.partial`,
    `${name}.partial.partial.tar.gz`,
    `${name}.PARTIAL.tar.gz`,
    `./${name}.tar.gz`,
    `${name}.tar.gz\n`,
    `x\n${name}.tar.gz`,
    `${name}xtar.gz`,
    ".tar.gz",
    `31-04-2021-00-00-00.tar.gz`,
  ])("is not %j", (fileName) => {
    expect(parseSnapshotFileName(fileName)).toBeUndefined();
  });
});
