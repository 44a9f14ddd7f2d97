import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { digestOf } from "../../src/base/bytes.ts";
import { isOutcome, UserError } from "../../src/base/errors.ts";
import { footerBytes } from "../../src/snapshot/footer.ts";
import { segmentBytes } from "../../src/snapshot/limits.ts";
import { openSnapshot, readContents } from "../../src/snapshot/reader.ts";
import { tarEnd } from "../../src/snapshot/tar.ts";
import { bodyOf, closeWith, entryMember, refusal, threeSegments } from "./forge.ts";
import { dumpOf, facts, fileOf, header, MemoryFile, make, never, noise, send, whole } from "./make.ts";
import { smallSnapshot } from "./small.ts";

const content = noise(900);

test("the forged file is right when nothing is changed, so that what follows is refused for its one fault", async () => {
  expect(await refusal(await threeSegments(content, (entries) => entries))).toBe("accepted");
  expect(await refusal(await smallSnapshot())).toBe("accepted");
});

describe("a file is refused", () => {
  const made = make([dumpOf("vault", "v", { name: "a", content })]);
  const other = make([dumpOf("vault", "v", { name: "a", content: noise(901) })]);

  test.each([
    ["with a byte behind it (AR-03)", (file: Buffer) => Buffer.concat([file, Buffer.alloc(1)])],
    ["with a gzip member behind it (AR-03)", (file: Buffer) => Buffer.concat([file, gzipSync("")])],
    ["twice in a row (AR-03)", (file: Buffer) => Buffer.concat([file, file])],
    ["without its footer", (file: Buffer) => file.subarray(0, -footerBytes)],
    ["with two footers", (file: Buffer) => Buffer.concat([file, file.subarray(-footerBytes)])],
    ["of footer alone", (file: Buffer) => file.subarray(-footerBytes)],
    ["of nothing", () => Buffer.alloc(0)],
    ["of zeros", () => Buffer.alloc(10_000)],
    ["of any gzip", () => gzipSync(noise(1_000))],
    ["with a byte in front", (file: Buffer) => Buffer.concat([Buffer.alloc(1), file])],
  ])("%s", async (_, change) => {
    const { fileName, bytes } = await made;
    expect(await refusal({ fileName, bytes: change(bytes) })).toMatch(/^cannot read "12-02-2021-15-28-37.tar.gz": /);
  });

  test("when a bit of its manifest has changed", async () => {
    const { fileName, bytes } = await made;
    const manifestAt = bodyOf({ bytes }).byteLength;
    for (const at of [manifestAt, manifestAt + 100, bytes.byteLength - footerBytes - 1]) {
      const changed = Buffer.from(bytes);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      expect(await refusal({ fileName, bytes: changed })).toMatch(/manifest.json: damaged: its SHA-256 differs/);
    }
  });

  test("when another snapshot stands in front of it or behind it (AR-03)", async () => {
    const [one, two] = [await made, await other];
    for (const bytes of [Buffer.concat([one.bytes, two.bytes]), Buffer.concat([two.bytes, one.bytes])]) {
      expect(await refusal({ ...one, bytes })).toMatch(/does not fit the file/);
    }
  });

  test.each([
    ["13-02-2021-15-28-37.tar.gz", /renamed/],
    ["12-02-2021-15-28-37.partial.tar.gz", /it was made as "12-02-2021-15-28-37.tar.gz"/],
    ["copy of 12-02-2021-15-28-37.tar.gz", /not one of a snapshot/],
    ["latest.tar.gz", /not one of a snapshot/],
    ["", /not one of a snapshot/],
  ])("under the name %j (AR-10)", async (fileName, message) => {
    expect(await refusal({ ...(await made), fileName })).toMatch(message);
  });

  test("when its header is of another run (AR-10)", async () => {
    const changed = Buffer.from(JSON.stringify({ ...header, runId: "another" }));
    const file = await threeSegments(content, ([, ...rest]) => [{ path: "header.json", content: changed }, ...rest]);
    expect(await refusal(file)).toMatch(/header.json: differs from the manifest/);
  });

  test("when its header is not JSON", async () => {
    const file = await threeSegments(content, ([, ...rest]) => [
      { path: "header.json", content: Buffer.from("{") },
      ...rest,
    ]);
    expect(await refusal(file)).toMatch(/header.json: not acceptable JSON/);
  });

  test("when its manifest is an entry of another name", async () => {
    const good = await threeSegments(content, (entries) => entries);
    const text = Buffer.from("{}");
    const member = await entryMember("manifest.jsom", text, 9, tarEnd);
    expect(await refusal(closeWith(bodyOf(good), member, 2))).toMatch(/manifest.json: not of the snapshot/);
  });

  test.each([
    ["claims fewer bytes", -1],
    ["claims more bytes", +1],
    ["claims a gigabyte", 2 ** 30],
  ])("when its footer %s of the manifest than there are", async (_, more) => {
    const good = await threeSegments(content, (entries) => entries);
    const text = Buffer.from(`${"[".repeat(40)}${"]".repeat(40)}`);
    const member = await entryMember("manifest.json", text, 9, tarEnd);
    expect(await refusal(closeWith(bodyOf(good), member, text.byteLength))).toMatch(/not an object/);
    const told = await refusal(closeWith(bodyOf(good), member, text.byteLength + more));
    expect(told).toMatch(more < 1_000 ? /manifest.json: not of the snapshot/ : /the footer: does not fit the file/);
  });

  test("when its manifest does not end the tar", async () => {
    const good = await threeSegments(content, (entries) => entries);
    const text = Buffer.from("{}");
    const member = await entryMember("manifest.json", text, 9);
    expect(await refusal(closeWith(bodyOf(good), member, 2))).toMatch(/not of the snapshot/);
  });
});

describe("reading a part", () => {
  const contents = ["a", "b", "c"].map((seed) => noise(2 * segmentBytes + 1_000, seed));
  const made = make(
    contents.map((each, index) => ({
      storage: `storage${index}`,
      instance: "i",
      run: async (output) => {
        await Promise.all([
          send(output, { name: "big", content: each }),
          send(output, { name: "small", content: each.subarray(0, 10) }),
        ]);
        return facts;
      },
    })),
    { concurrency: 3, compressionLevel: 0 },
  );

  test("opening reads the end and the first entry only", async () => {
    const file = fileOf(await made);
    await openSnapshot(file, never);
    expect(file.reads).toHaveLength(2);
    expect(file.readBytes).toBeLessThan(300_000);
  });

  test("verifying an instance reads its segments only, and neighbours in one go", async () => {
    const file = fileOf(await made);
    const snapshot = await openSnapshot(file, never);
    const instance = snapshot.manifest.instances[1];
    file.reads.length = 0;
    const progress: number[] = [];
    await snapshot.verifyInstances(instance ? [instance] : [], never, (bytes) => progress.push(bytes));
    const segments = instance?.streams.flatMap((stream) => stream.segments) ?? [];
    const total = segments.reduce((sum, segment) => sum + segment.length, 0);
    expect(file.readBytes).toBe(total);
    expect(progress.at(-1)).toBe(total);
    const borders = segments.filter(({ offset }) => !segments.some((each) => each.offset + each.length === offset));
    expect(file.reads).toHaveLength(borders.length);
  });

  test("verifying several instances reads the file in its order, whatever theirs", async () => {
    const file = fileOf(await made);
    const snapshot = await openSnapshot(file, never);
    file.reads.length = 0;
    await snapshot.verifyInstances(snapshot.manifest.instances.toReversed(), never);
    const offsets = file.reads.map(({ offset }) => offset);
    expect(offsets.length).toBeGreaterThan(0);
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b));
  });

  test("the table of contents alone is read from the end alone, and a file without one is named", async () => {
    const small = await made;
    const file = fileOf(small);
    const contents = await readContents(file, never);
    expect(file.reads.every(({ offset }) => offset > 0)).toBe(true);
    expect(contents).toEqual((await openSnapshot(file, never)).manifest);
    const cut = fileOf({ ...small, bytes: small.bytes.subarray(0, -1) });
    await expect(readContents(cut, never)).rejects.toMatchObject({ outcome: "invalid-snapshot" });
    await expect(readContents(cut, never)).rejects.toThrow(
      `"${small.fileName}": the file's end: not that of a snapshot: it is cut, damaged or something else`,
    );
  });

  test("verifying all reads every byte once, in order, and reports it", async () => {
    const file = fileOf(await made);
    const snapshot = await openSnapshot(file, never);
    file.reads.length = 0;
    const progress: number[] = [];
    await snapshot.verifyAll(never, (bytes) => progress.push(bytes));
    let end = 0;
    for (const { offset, lengthBytes } of file.reads) {
      expect(offset).toBe(end);
      end += lengthBytes;
    }
    expect(end).toBe(file.sizeBytes);
    expect(file.reads).toHaveLength(2); // all entries, and the footer
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toBe(file.sizeBytes);
  });

  test("a stream can be read more than once", async () => {
    const snapshot = await openSnapshot(fileOf(await made), never);
    const instance = snapshot.manifest.instances[2];
    const stream = instance?.streams.find(({ name }) => name === "big");
    if (instance === undefined || stream === undefined) throw new Error("not there");
    for (let time = 0; time < 2; time += 1) {
      const bytes = await whole(snapshot.readStream(instance, stream, never));
      expect(digestOf(bytes)).toEqual(digestOf(contents[2] ?? Buffer.alloc(0)));
    }
  });

  test("a damaged segment ends the stream with an error, after what was right and before anything of it", async () => {
    const { fileName, bytes } = await made;
    const snapshot = await openSnapshot(fileOf({ fileName, bytes }), never);
    const [instance] = snapshot.manifest.instances;
    const stream = instance?.streams.find(({ name }) => name === "big");
    const second = stream?.segments[1];
    if (instance === undefined || stream === undefined || second === undefined) throw new Error("not there");
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8(damaged.readUInt8(second.offset + 5_000) ^ 1, second.offset + 5_000);
    const reopened = await openSnapshot(fileOf({ fileName, bytes: damaged }), never);
    const [sameInstance] = reopened.manifest.instances;
    const sameStream = sameInstance?.streams.find(({ name }) => name === "big");
    let given = 0;
    const reading = async () => {
      if (sameInstance === undefined || sameStream === undefined) return;
      for await (const chunk of reopened.readStream(sameInstance, sameStream, never)) given += chunk.byteLength;
    };
    await expect(reading()).rejects.toThrow(/storage0\/i\/big.000001" at \d+: damaged: its SHA-256 differs/);
    expect(given).toBe(segmentBytes);
  });

  test("entries of another snapshot are not taken (AR-04)", async () => {
    const snapshot = await openSnapshot(fileOf(await made), never);
    const other = await openSnapshot(fileOf(await made), never);
    const [ours] = snapshot.manifest.instances;
    const [instance] = other.manifest.instances;
    const [stream] = instance?.streams ?? [];
    if (ours === undefined || instance === undefined || stream === undefined) throw new Error("not there");
    await expect(snapshot.verifyInstances([instance], never)).rejects.toThrow(TypeError);
    await expect(whole(snapshot.readStream(instance, stream, never))).rejects.toThrow(TypeError);
    await expect(whole(snapshot.readStream(ours, stream, never))).rejects.toThrow(TypeError);
  });
});

test("a manifest larger than the first read takes one more", async () => {
  const large = { ...facts, facts: noise(300_000).toString("base64") };
  const made = await make([{ storage: "minio", instance: "m", run: async () => large }]);
  const file = fileOf(made);
  const snapshot = await openSnapshot(file, never);
  expect(file.reads).toHaveLength(3);
  expect(file.readBytes).toBe(file.sizeBytes);
  await snapshot.verifyAll(never);
  expect(snapshot.manifest.instances[0]?.facts).toBe(large.facts);
});

test("an end that changes after opening is refused by the next verification of all", async () => {
  const made = await make([dumpOf("vault", "v", { name: "a", content })]);
  const manifestAt = bodyOf(made).byteLength;
  for (let at = manifestAt; at < made.bytes.byteLength; at += 13) {
    const bytes = Buffer.from(made.bytes);
    const snapshot = await openSnapshot(fileOf({ ...made, bytes }), never);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    await expect(snapshot.verifyAll(never)).rejects.toThrow(/manifest.json.*damaged|the footer: changed/);
  }
});

test.each([1, 7, 511, 1_000_000])("chunks of %i bytes are as good as any", async (chunkBytes) => {
  const small = await smallSnapshot();
  const snapshot = await openSnapshot(fileOf(small, chunkBytes), never);
  await expect(snapshot.verifyAll(never)).resolves.toBeUndefined();
});

describe("a source", () => {
  class Odd extends MemoryFile {
    mode: "fails" | "ends early" | "gives more" | "gives nothing" | undefined;

    override async *read(offset: number, lengthBytes: number, signal: AbortSignal) {
      if (this.mode === "fails") throw new UserError("object-store", "the object is gone");
      if (this.mode === "gives nothing") return;
      yield* super.read(offset, this.mode === "ends early" ? lengthBytes - 1 : lengthBytes, signal);
      if (this.mode === "gives more") yield Buffer.alloc(1);
    }
  }

  test.each([
    ["fails", "object-store", /^the object is gone$/],
    ["ends early", "invalid-snapshot", /shorter than it was/],
    ["gives nothing", "invalid-snapshot", /shorter than it was/],
    ["gives more", "invalid-snapshot", /longer than it was/],
  ] as const)("that %s is told apart", async (mode, outcome, message) => {
    const made = await make([dumpOf("vault", "v", { name: "a", content })]);
    const source = new Odd(made.fileName, made.bytes);
    const snapshot = await openSnapshot(source, never);
    source.mode = mode;
    const [instance] = snapshot.manifest.instances;
    const [stream] = instance?.streams ?? [];
    if (instance === undefined || stream === undefined) throw new Error("not there");
    const attempts = [
      () => openSnapshot(source, never),
      () => snapshot.verifyAll(never),
      () => snapshot.verifyInstances([instance], never),
      () => whole(snapshot.readStream(instance, stream, never)),
    ];
    for (const attempt of attempts) {
      const error = await attempt().catch((thrown) => thrown);
      expect(isOutcome(error, outcome) && error.message).toMatch(message);
    }
  });
});

describe("aborting", () => {
  test("ends a verification with the signal's reason, and releases the source", async () => {
    const made = await make([dumpOf("vault", "v", { name: "a", content: noise(5 * segmentBytes) })], {
      compressionLevel: 0,
    });
    let isReleased = false;
    class Slow extends MemoryFile {
      override async *read(offset: number, lengthBytes: number, signal: AbortSignal) {
        try {
          for await (const chunk of super.read(offset, lengthBytes, signal)) {
            await pause(1);
            yield chunk;
          }
        } finally {
          isReleased = true;
        }
      }
    }
    const snapshot = await openSnapshot(new Slow(made.fileName, made.bytes), never);
    isReleased = false;
    const controller = new AbortController();
    const verifying = snapshot.verifyAll(controller.signal, () => controller.abort(new Error("Ctrl-C")));
    await expect(verifying).rejects.toThrow("Ctrl-C");
    expect(isReleased).toBe(true);
  });

  test("leaving a stream early releases the source", async () => {
    const made = await make([dumpOf("vault", "v", { name: "a", content: noise(4 * segmentBytes) })], {
      compressionLevel: 0,
    });
    let open = 0;
    class Counting extends MemoryFile {
      override async *read(offset: number, lengthBytes: number, signal: AbortSignal) {
        open += 1;
        try {
          yield* super.read(offset, lengthBytes, signal);
        } finally {
          open -= 1;
        }
      }
    }
    const snapshot = await openSnapshot(new Counting(made.fileName, made.bytes), never);
    const [instance] = snapshot.manifest.instances;
    const [stream] = instance?.streams ?? [];
    if (instance === undefined || stream === undefined) throw new Error("not there");
    for await (const chunk of snapshot.readStream(instance, stream, never)) {
      expect(chunk.byteLength).toBe(segmentBytes);
      expect(open).toBe(1);
      break;
    }
    expect(open).toBe(0);
  });
});
