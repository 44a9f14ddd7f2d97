/** Manifests that anybody may have written, in files whose every hash is right: what is refused here is refused for what the
 *  manifest says. */
import { isDeepStrictEqual } from "node:util";
import { beforeEach, describe, expect, test } from "vitest";
import { isOutcome } from "../../src/base/errors.ts";
import { fileOrder } from "../../src/snapshot/layout.ts";
import { openSnapshot, type Snapshot } from "../../src/snapshot/reader.ts";
import type { InstanceEntry, Manifest, Segment, StreamEntry } from "../../src/snapshot/toc.ts";
import { close, headerEntry, lay, manifestOf, streamOf, withManifest } from "./forge.ts";
import { fileOf, header, type MadeFile, never } from "./make.ts";
import { smallSnapshot } from "./small.ts";

let made: MadeFile;
let manifest: Manifest;
// Within a test, so that a mutation run sees which tests the code is for.
beforeEach(async () => {
  if (made !== undefined) return;
  const small = await smallSnapshot();
  ({ manifest } = await openSnapshot(fileOf(small), never));
  made = { ...small, manifest };
});

async function openWith(changed: unknown): Promise<Snapshot> {
  return await openSnapshot(fileOf(await withManifest(made, changed)), never);
}

async function refusal(changed: unknown): Promise<string> {
  const error = await openWith(changed).then(
    () => "accepted",
    (thrown) => thrown,
  );
  return isOutcome(error, "invalid-snapshot") ? error.message : `not refused: ${error}`;
}

type Change<T> = (value: T) => unknown;
const instance = (change: Change<InstanceEntry>): Change<Manifest> => {
  return (all) => ({ ...all, instances: all.instances.map((each, index) => (index === 0 ? change(each) : each)) });
};
const stream = (change: Change<StreamEntry>, which = 0): Change<Manifest> => {
  return instance((all) => ({
    ...all,
    streams: all.streams.map((each, index) => (index === which ? change(each) : each)),
  }));
};
const segment = (change: Change<Segment>, which = 1): Change<Manifest> => {
  return stream((all) => ({
    ...all,
    segments: all.segments.map((each, index) => (index === which ? change(each) : each)),
  }));
};
const headerSegment = (change: (sha256: string) => string): Change<Manifest> => {
  return (all) => ({ ...all, headerSegment: { ...all.headerSegment, sha256: change(all.headerSegment.sha256) } });
};
const discarded = (change: Change<Manifest["discarded"][number]>): Change<Manifest> => {
  return (all) => ({ ...all, discarded: all.discarded.map((each, index) => (index === 0 ? change(each) : each)) });
};
/** Replaces one value wherever it stands. */
const set = (values: Record<string, unknown>) => (all: object) => ({ ...all, ...values });
const without = (key: string) => (all: object) =>
  Object.fromEntries(Object.entries(all).filter(([each]) => each !== key));

test("the manifest unchanged is accepted, so that each change is refused for itself", async () => {
  await expect(openWith(manifest)).resolves.toBeDefined();
});

test("keys that version 1 does not know are passed over, wherever they stand", async () => {
  const changed = segment(set({ color: "red" }))(
    stream(set({ since: 1 }))(instance(set({ x: [{}] }))(manifest) as Manifest) as Manifest,
  );
  const snapshot = await openWith({ ...(changed as Manifest), future: { deep: [1] } });
  await snapshot.verifyAll(never);
  expect(snapshot.manifest).toEqual(manifest);
});

describe("a manifest is refused", () => {
  test.each<[string, Change<Manifest>, RegExp]>([
    ["of a newer format (AR-09)", set({ formatVersion: 2 }), /formatVersion: unknown; a newer version/],
    ["of an older format than there is", set({ formatVersion: 0 }), /formatVersion: unknown/],
    ["of a format in letters", set({ formatVersion: "1" }), /formatVersion: unknown/],
    ["without a format", without("formatVersion"), /formatVersion: missing/],
    ["that needs a feature (AR-09)", set({ requires: ["deduplication"] }), /one that knows "deduplication"/],
    [
      "that needs a feature of an odd name",
      set({ requires: ["\u001b[2J"] }),
      /one that knows a feature unknown to this one/,
    ],
    ["that needs an object", set({ requires: [{}] }), /requires\[0\]: not a text/],
    [
      "of another date (AR-10)",
      set({ name: "13-02-2021-15-28-37", startedAt: "2021-02-13T15:28:37.000Z" }),
      /it was made as/,
    ],
    ["of no date", set({ name: "today" }), /not the name of a snapshot/],
    [
      "begun at another time than its name says",
      set({ startedAt: "2021-02-12T15:28:38.000Z" }),
      /startedAt: not the time/,
    ],
    ["of another run than its header (AR-10)", set({ runId: "x" }), /header.json: differs/],
    ["of another namespace than its header (AR-10)", set({ namespace: "production" }), /header.json: differs/],
    ["that rings a bell", set({ namespace: "kaa\u0007" }), /namespace: not a single line/],
    [
      "that is complete and has failures",
      set({ failures: [{ storage: "a", instance: "b", reason: "c" }] }),
      /contradicts/,
    ],
    ["that is partial and has none", set({ complete: false }), /complete: contradicts/],
    ["that is complete in letters", set({ complete: "true" }), /complete: neither true nor false/],
    ["whose header has a longer SHA-256", headerSegment((sha256) => `${sha256}0`), /sha256: not a SHA-256/],
    ["whose header has a SHA-256 with a sign", headerSegment((sha256) => `-${sha256}`), /headerSegment.sha256: not a/],
    [
      "that needs a feature with an odd beginning",
      set({ requires: ["\u001bdeduplication"] }),
      /one that knows a feature unknown to this one/,
    ],
    [
      "that needs a feature with an odd end",
      set({ requires: ["deduplication\u001b"] }),
      /one that knows a feature unknown to this one/,
    ],
    ["with a failure that is a text", set({ complete: false, failures: ["a"] }), /failures\[0\]: not an object/],
    ["finished at no time", set({ finishedAt: "soon" }), /finishedAt: not a time/],
    ["finished on 31 February", set({ finishedAt: "2021-02-31T15:28:37.000Z" }), /finishedAt: not a time/],
    ["without its header's place", without("headerSegment"), /headerSegment: missing/],
    [
      "whose header is elsewhere",
      (all) => ({ ...all, headerSegment: all.discarded[0] }),
      /does not follow|first entry/,
    ],
    ["whose instances are an object", set({ instances: {} }), /instances: not a list/],
    ["without an instance", set({ instances: [] }), /does not follow/],
    ["with an instance twice", (all) => ({ ...all, instances: [...all.instances, ...all.instances] }), /comes twice/],
    [
      "with an instance under two storages",
      (all) => ({
        ...all,
        instances: [...all.instances, ...all.instances.map(set({ storage: "vault", folder: "vault/kaa-postgresql" }))],
      }),
      /does not follow/,
    ],
    ["without a discarded segment", (all) => ({ ...all, discarded: all.discarded.slice(1) }), /does not follow/],
    [
      "with one discarded twice",
      (all) => ({ ...all, discarded: [...all.discarded, ...all.discarded.slice(1)] }),
      /comes twice/,
    ],
    [
      "with one discarded twice under two names",
      (all) => ({
        ...all,
        discarded: [...all.discarded, ...all.discarded.map((each) => ({ ...each, path: `x/${each.path}` }))],
      }),
      /does not follow/,
    ],
    [
      "with a discarded one in the folder of a dump",
      discarded(set({ path: "postgresql/kaa-postgresql~2/rows.sql.000009" })),
      /lies in the folder of a dump/,
    ],
    [
      "with a discarded one that climbs",
      discarded(set({ path: "a/b/../../../etc/passwd.000000" })),
      /not a segment's path/,
    ],
    ["with a discarded one at the top", discarded(set({ path: "manifest.json.000000" })), /not a segment's path/],
    [
      "with a discarded one whose path is longer than any",
      discarded(set({ path: `a/b/${"x".repeat(4_000)}.000000` })),
      /not a segment's path/,
    ],
  ])("%s", async (_, change, message) => {
    expect(await refusal(change(manifest))).toMatch(message);
  });

  test.each<[string, Change<InstanceEntry>, RegExp]>([
    ["in no folder", without("folder"), /folder: missing/],
    ["in another's folder", set({ folder: "postgresql/kaa-postgresql2" }), /not the instance's folder/],
    [
      "in the folder of attempt one, written out",
      set({ folder: "postgresql/kaa-postgresql~1" }),
      /not the instance's folder/,
    ],
    ["in the folder of attempt 02", set({ folder: "postgresql/kaa-postgresql~02" }), /not the instance's folder/],
    ["in a folder that climbs", set({ folder: "postgresql/kaa-postgresql~2/.." }), /not the instance's folder/],
    ["whose storage climbs", set({ storage: "..", folder: "../kaa-postgresql" }), /storage: not the name/],
    ["whose storage has a slash", set({ storage: "a/b", folder: "a/b/kaa-postgresql" }), /storage: not the name/],
    ["whose name is empty", set({ instance: "", folder: "postgresql/" }), /instance: not the name/],
    ["whose name is too long", set({ instance: "x".repeat(254) }), /instance: not the name/],
    ["whose name is an attempt", set({ instance: "a~2", folder: "postgresql/a~2" }), /instance: not the name/],
    ["whose version is a number", set({ serverVersion: 15 }), /serverVersion: not a text/],
    ["whose counts are a list", set({ counts: [1] }), /counts: not an object/],
    ["with half a row", set({ counts: { rows: 0.5 } }), /counts.rows: not a whole number/],
    ["with rows beyond counting", set({ counts: { rows: 2 ** 53 } }), /counts.rows: not a whole number/],
    ["whose warnings are numbers", set({ warnings: [1] }), /warnings\[0\]: not a text/],
    ["without facts", without("facts"), /facts: missing/],
    ["with a stream less", (all) => ({ ...all, streams: all.streams.slice(1) }), /does not follow/],
    [
      "with a stream twice",
      (all) => ({ ...all, streams: [...all.streams, ...all.streams.slice(0, 1)] }),
      /comes twice/,
    ],
  ])("with an instance %s", async (_, change, message) => {
    expect(await refusal(instance(change)(manifest))).toMatch(message);
  });

  test.each<[string, Change<StreamEntry>, RegExp]>([
    ...["", "/a", "a//b", "../x", "a/..", ".", "C:..", "a\\b", "a\0b", "ä", "a b", "a\n", "x".repeat(4_096)].map(
      (name): [string, Change<StreamEntry>, RegExp] => [
        `named ${JSON.stringify(name).slice(0, 20)} (AR-05)`,
        set({ name }),
        /name: not the name of a stream/,
      ],
    ),
    ["whose name is a list", set({ name: ["a"] }), /name: not a text/],
    ["in an unknown encoding", set({ encoding: "zstd" }), /encoding: none of identity, gzip/],
    [
      "whose plain hash is another",
      (all) => ({ ...all, plain: { ...all.plain, sha256: "0".repeat(64) } }),
      /plain: differs/,
    ],
    [
      "whose plain size is another",
      (all) => ({ ...all, plain: { ...all.plain, bytes: all.plain.bytes + 1 } }),
      /plain: differs/,
    ],
    [
      "whose witness saw another hash",
      (all) => ({ ...all, witness: { ...all.witness, sha256: "0".repeat(64) } }),
      /witness: differs/,
    ],
    ["whose witness is nobody", (all) => ({ ...all, witness: { ...all.witness, by: "me" } }), /witness.by: none of/],
    ["without a witness", without("witness"), /witness: missing/],
    [
      "whose hash is in capitals",
      (all) => ({ ...all, stored: { ...all.stored, sha256: all.stored.sha256.toUpperCase() } }),
      /not a SHA-256/,
    ],
    [
      "whose hash is short",
      (all) => ({ ...all, stored: { ...all.stored, sha256: all.stored.sha256.slice(1) } }),
      /not a SHA-256/,
    ],
    ["without segments", set({ segments: [] }), /segments: none/],
    ["with a segment less (AR-04)", (all) => ({ ...all, segments: all.segments.slice(1) }), /do not add up/],
    [
      "with a segment twice (AR-04)",
      (all) => ({ ...all, segments: [...all.segments, ...all.segments.slice(0, 1)] }),
      /do not add up/,
    ],
    [
      "with segments out of order (AR-04)",
      (all) => ({ ...all, segments: all.segments.toReversed() }),
      /not in the order of its stream/,
    ],
    [
      "with an empty segment among others",
      (all) => ({ ...all, segments: [...all.segments, { ...all.segments[0], bytes: 0 }] }),
      /an empty one among others/,
    ],
  ])("with a stream %s", async (_, change, message) => {
    expect(await refusal(stream(change)(manifest))).toMatch(message);
  });

  test.each<[string, Change<Segment>, RegExp]>([
    ["below zero", set({ offset: -1 }), /offset: not a whole number/],
    ["at half a byte", set({ offset: 0.5 }), /offset: not a whole number/],
    ["at a text", set({ offset: "12" }), /offset: not a whole number/],
    ["at null", set({ offset: null }), /offset: not a whole number/],
    ["at no place", without("offset"), /offset: missing/],
    ["beyond counting", set({ offset: 2 ** 60 }), /offset: not a whole number/],
    ["behind the file", set({ offset: 2 ** 50 }), /does not follow/],
    ["one byte on", (all) => ({ ...all, offset: all.offset + 1 }), /does not follow/],
    ["one byte back", (all) => ({ ...all, offset: all.offset - 1 }), /does not follow/],
    ["at the header", set({ offset: 0 }), /does not follow|first entry/],
    ["one byte longer", (all) => ({ ...all, length: all.length + 1 }), /does not follow/],
    ["one byte shorter", (all) => ({ ...all, length: all.length - 1 }), /does not follow/],
    ["of no length", set({ length: 0 }), /does not follow/],
    ["of a gigabyte", set({ length: 2 ** 30 }), /length: more than/],
    ["of a size that no segment has", set({ bytes: 8 * 1024 * 1024 + 1 }), /bytes: more than/],
    ["of a terabyte inside (AR-07)", set({ bytes: 10 ** 12 }), /bytes: more than/],
    ["of one byte more inside", (all) => ({ ...all, bytes: all.bytes + 1 }), /do not add up/],
    ["of a hash that is none", set({ sha256: "g".repeat(64) }), /not a SHA-256/],
  ])("with a segment %s", async (_, change, message) => {
    expect(await refusal(segment(change)(manifest))).toMatch(message);
  });

  test.each<[string, Change<Manifest>]>([
    ["a discarded segment of another number", discarded(set({ path: "postgresql/kaa-postgresql/rows.sql.000007" }))],
    ["a discarded segment of another dump", discarded(set({ path: "vault/kaa-vault/rows.sql.000000" }))],
    ["a stream that is said to be encoded", stream(set({ encoding: "gzip" }))],
    ["a stream of another name", stream(set({ name: "rows.txt" }))],
    ["an instance of another name", instance(set({ instance: "other", folder: "postgresql/other" }))],
    ["an instance of another attempt", instance(set({ folder: "postgresql/kaa-postgresql~3" }))],
  ])("with %s, as soon as the entry is read whose tar header knows better", async (_, change) => {
    const snapshot = await openWith(change(manifest));
    await expect(snapshot.verifyAll(never)).rejects.toThrow(/not the tar entry/);
  });

  test.each<[string, (text: string) => Buffer, RegExp]>([
    ["that is cut", (text) => Buffer.from(text.slice(0, -1)), /not acceptable JSON/],
    ["that goes on", (text) => Buffer.from(`${text}{}`), /not acceptable JSON/],
    ["in UTF-16", (text) => Buffer.from(text, "utf16le"), /not acceptable JSON/],
    ["with a byte order mark", (text) => Buffer.from(`\ufeff${text}`), /not acceptable JSON/],
    ["that says NaN", (text) => Buffer.from(text.replace(/"offset":0/, '"offset":NaN')), /not acceptable JSON/],
    [
      "that says Infinity by an exponent",
      (text) => Buffer.from(text.replace(/"offset":0/, '"offset":1e999')),
      /not a whole number/,
    ],
    ["that says minus zero", (text) => Buffer.from(text.replace(/"offset":0/, '"offset":-0')), /not a whole number/],
  ])("%s", async (_, change, message) => {
    expect(await refusal(change(JSON.stringify(manifest)))).toMatch(message);
  });

  test.each<[string, Buffer, RegExp]>([
    ["that is empty", Buffer.alloc(0), /not acceptable JSON/],
    [
      "that is not UTF-8",
      Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')]),
      /not acceptable JSON/,
    ],
    ["that is a list", Buffer.from("[]"), /manifest.json: not an object/],
    ["that is null", Buffer.from("null"), /manifest.json: not an object/],
    ["of nothing but a prototype", Buffer.from('{"__proto__":{"formatVersion":1}}'), /formatVersion: missing/],
    ["65 deep", Buffer.from(`{"x":${"[".repeat(64)}${"]".repeat(64)}}`), /not acceptable JSON/],
    ["a million deep", Buffer.from("[".repeat(1_000_000)), /not acceptable JSON/],
    ["a million objects deep", Buffer.from('{"":'.repeat(1_000_000)), /not acceptable JSON/],
    ["of nine million lists", Buffer.from(`[${"[],".repeat(9_000_000)}0]`), /not acceptable JSON/],
    ["of one string that never ends", Buffer.from(`"${"\\".repeat(999_999)}`), /not acceptable JSON/],
  ])("%s", async (_, content, message) => {
    expect(await refusal(content)).toMatch(message);
  });

  test("that has an entry of no bytes where another begins", async () => {
    const [first] = manifest.discarded;
    const nothing = { ...first, path: "postgresql/kaa-postgresql/x.000000", length: 0, bytes: 0 };
    expect(await refusal({ ...manifest, discarded: [nothing, ...manifest.discarded] })).toMatch(/does not follow/);
  });

  test("that does not list the last entry before it", async () => {
    const { body, segments } = await lay([headerEntry(), { path: "a/b/c.000000", content: Buffer.from("x") }]);
    const file = await close(body, manifestOf({ headerSegment: segments[0], streams: [] }));
    const told = `what it lists ends at ${segments[0]?.length}, and it begins at ${body.byteLength}`;
    await expect(openSnapshot(fileOf(file), never)).rejects.toThrow(told);
  });

  test("whose header lies behind another entry", async () => {
    const path = "vault/kaa-vault/a.000000";
    const { body, segments } = await lay([{ path, content: Buffer.from("x") }, headerEntry()]);
    const discarded = segments.slice(0, 1).map((each) => ({ ...each, path }));
    const file = await close(body, { ...manifestOf({ headerSegment: segments[1], streams: [] }), discarded });
    await expect(openSnapshot(fileOf(file), never)).rejects.toThrow(/"header.json" is not the first entry/);
  });

  test("whose header is too large", async () => {
    const content = Buffer.from(JSON.stringify({ ...header, more: "x".repeat(64 * 1024) }));
    const { body, segments } = await lay([{ path: "header.json", content }]);
    const file = await close(body, manifestOf({ headerSegment: segments[0], streams: [] }));
    await expect(openSnapshot(fileOf(file), never)).rejects.toThrow(/"header.json" is too large/);
  });

  test("that lists more than a million entries", () => {
    const segments = Array.from({ length: 1_000_000 }, (_, offset) => ({ offset, length: 1, sha256: "", bytes: 0 }));
    const fileOf = (count: number) => {
      const [headerSegment = manifest.headerSegment, ...rest] = segments.slice(0, count);
      const discarded = rest.map((each, index) => ({ ...each, path: `a/b/${index}.000000` }));
      return fileOrder({ ...manifest, headerSegment, instances: [], discarded }, count);
    };
    segments.push({ offset: 1_000_000, length: 1, sha256: "", bytes: 0 });
    expect(fileOf(1_000_000)).toHaveLength(1_000_000);
    expect(() => fileOf(1_000_001)).toThrow(/more than 1000000 entries/);
  });

  test("that mixes more streams than a reader keeps open", async () => {
    const mixed = async (streams: number) => {
      const names = Array.from({ length: streams }, (_, index) => `s${index}`);
      const byte = Buffer.from("x");
      const entries = ["000000", "000001"].flatMap((number) =>
        names.map((name) => ({ path: `postgresql/kaa-postgresql/${name}.${number}`, content: byte })),
      );
      const { body, segments } = await lay([headerEntry(), ...entries]);
      const two = Buffer.from("xx");
      const parts = names.map((name, index) =>
        streamOf(
          name,
          two,
          [segments[1 + index], segments[1 + streams + index]].flatMap((each) => each ?? []),
        ),
      );
      return await close(body, manifestOf({ headerSegment: segments[0], streams: parts }));
    };
    await expect(openSnapshot(fileOf(await mixed(65)), never)).rejects.toThrow(/more than 64 streams lie mixed/);
    await (await openSnapshot(fileOf(await mixed(64)), never)).verifyAll(never);
  });
});

describe("any change at all", () => {
  /** What a restore would act on. */
  function meaning(all: Manifest): unknown {
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    return {
      identity: [all.formatVersion, all.runId, all.name, all.namespace, all.release, all.tool, all.complete],
      headerSegment: all.headerSegment,
      instances: all.instances.map(({ storage, instance: name, folder, streams }) => {
        const dumped = streams.map(({ witness, ...rest }) => rest).sort(byName);
        return { storage, name, folder, dumped };
      }),
      discarded: all.discarded.toSorted((a, b) => a.offset - b.offset),
    };
  }

  /** A generator of which every run gives the same numbers. */
  function random(seed: number): (below: number) => number {
    let state = seed;
    return (below) => {
      state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) >>> 0;
      return ((state ^ (state >>> 13)) >>> 0) % below;
    };
  }

  const oddities = [
    null, true, false, 0, 1, -1, 0.1, 1e308, 2 ** 53, 2 ** 31, "", "0", "..", "/", "\0", "\u202e", "a", "0".repeat(64),
    "2021-02-12T15:28:37.000Z", "gzip", "identity", [], {}, [[]], [{}], { bytes: 0 }, "x".repeat(100_000),
  ]; // biome-ignore format: one value after the other

  /** Changes one place of a JSON value, chosen at random. */
  function mutate(value: unknown, pick: (below: number) => number): unknown {
    const mayDescend = typeof value === "object" && value !== null && Object.keys(value).length > 0;
    if (mayDescend && pick(12) !== 0) {
      const keys = Object.keys(value);
      const key = keys[pick(keys.length)] ?? "";
      if (Array.isArray(value)) {
        const index = Number(key);
        const action = pick(12);
        if (action === 0) return value.toSpliced(index, 1);
        if (action === 1) return value.toSpliced(index, 0, value[index]);
        if (action === 2) return value.toReversed();
        return value.with(index, mutate(value[index], pick));
      }
      const action = pick(16);
      const entries = Object.entries(value);
      if (action === 0) return Object.fromEntries(entries.filter(([each]) => each !== key));
      if (action === 1)
        return Object.fromEntries(entries.map(([each, inner]) => [each === key ? `${key}x` : each, inner]));
      return Object.fromEntries(entries.map(([each, inner]) => [each, each === key ? mutate(inner, pick) : inner]));
    }
    const action = pick(4);
    if (typeof value === "number" && action > 0) return value + [1, -1, 512, -512, 0.5][pick(5)]!;
    if (typeof value === "string" && value !== "" && action > 0) {
      const at = pick(value.length);
      return `${value.slice(0, at)}${String.fromCharCode(value.charCodeAt(at) ^ (1 << pick(7)))}${value.slice(at + 1)}`;
    }
    return oddities[pick(oddities.length)];
  }

  test.each([1, 2, 3])("is refused, or changes nothing that a restore acts on (seed %i)", async (seed) => {
    const pick = random(seed);
    let refused = 0;
    let accepted = 0;
    for (let round = 0; round < 500; round += 1) {
      let changed: unknown = manifest;
      for (let times = pick(3); times >= 0; times -= 1) changed = mutate(changed, pick);
      try {
        const snapshot = await openWith(changed);
        await snapshot.verifyAll(never);
        accepted += 1;
        if (isDeepStrictEqual(meaning(snapshot.manifest), meaning(manifest))) continue;
        expect.fail(`accepted: ${JSON.stringify(changed)}`);
      } catch (error) {
        if (!isOutcome(error, "invalid-snapshot")) throw error;
        expect(error.message).toMatch(/^cannot read "12-02-2021-15-28-37.tar.gz": /);
        expect(error.message.length).toBeLessThan(10_000);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(300);
    expect(accepted).toBeGreaterThan(10);
  });
});
