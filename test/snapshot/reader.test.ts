import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test, vi } from "vitest";
import { digestOf } from "../../src/base/bytes.ts";
import { isOutcome, UserError } from "../../src/base/errors.ts";
import { footerBytes } from "../../src/snapshot/footer.ts";
import { segmentBytes } from "../../src/snapshot/limits.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import { tarEnd } from "../../src/snapshot/tar.ts";
import {
  bodyOf,
  close,
  closeWith,
  entryMember,
  type Forged,
  type ForgedEntry,
  headerEntry,
  lay,
  manifestOf,
  memberOf,
  slices,
  streamOf,
} from "./forge.ts";
import { dumpOf, facts, fileOf, header, MemoryFile, make, never, noise, send, whole } from "./make.ts";
import { smallSnapshot } from "./small.ts";

vi.setConfig({ testTimeout: 30_000 }); // for machines that do much else

const folder = "postgresql/kaa-postgresql";
const content = noise(900);

/** The message with which a file is refused; "accepted" if it is not. */
async function refusal(file: Forged): Promise<string> {
  try {
    const snapshot = await openSnapshot(fileOf(file), never);
    await snapshot.verifyAll(never);
    return "accepted";
  } catch (error) {
    if (!isOutcome(error, "invalid-snapshot")) throw error;
    return error.message;
  }
}

/** A file of one stream in three segments; `entries` may then be put in another order, or in other members. */
async function forge(change: (entries: ForgedEntry[]) => readonly ForgedEntry[]): Promise<Forged> {
  const entries = [headerEntry(), ...slices(`${folder}/a`, content, 300)];
  const { body, segments } = await lay(change(entries));
  return close(body, manifestOf({ headerSegment: segments[0], streams: [streamOf("a", content, segments.slice(1))] }));
}

/** The same with one segment's member replaced by other bytes, for which the manifest vouches. */
async function withMember(member: Buffer, contentBytes = 300): Promise<string> {
  const replaced = { path: "", content: Buffer.alloc(contentBytes), member };
  return refusal(await forge(([first, a, , c]) => [first, a, replaced, c].flatMap((entry) => entry ?? [])));
}

test("the forged file is right when nothing is changed, so that what follows is refused for its one fault", async () => {
  expect(await refusal(await forge((entries) => entries))).toBe("accepted");
  expect(await refusal(await smallSnapshot())).toBe("accepted");
});

describe("a file is refused", () => {
  const made = make([dumpOf("vault", "v", { name: "a", content })]);
  const other = make([dumpOf("vault", "v", { name: "a", content: noise(901) })]);

  test.each([
    ["with a byte behind it", (file: Buffer) => Buffer.concat([file, Buffer.alloc(1)])],
    ["with a gzip member behind it", (file: Buffer) => Buffer.concat([file, gzipSync("")])],
    ["twice in a row", (file: Buffer) => Buffer.concat([file, file])],
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

  test("when another snapshot stands in front of it or behind it", async () => {
    const [one, two] = [await made, await other];
    for (const bytes of [Buffer.concat([one.bytes, two.bytes]), Buffer.concat([two.bytes, one.bytes])]) {
      expect(await refusal({ ...one, bytes })).toMatch(/cannot be true/);
    }
  });

  test.each([
    ["13-02-2021-15-28-37.tar.gz", /renamed/],
    ["12-02-2021-15-28-37.partial.tar.gz", /it was made as "12-02-2021-15-28-37.tar.gz"/],
    ["copy of 12-02-2021-15-28-37.tar.gz", /not one of a snapshot/],
    ["latest.tar.gz", /not one of a snapshot/],
    ["", /not one of a snapshot/],
  ])("under the name %j", async (fileName, message) => {
    expect(await refusal({ ...(await made), fileName })).toMatch(message);
  });

  test("when its header is of another run", async () => {
    const changed = Buffer.from(JSON.stringify({ ...header, runId: "another" }));
    const file = await forge(([, ...rest]) => [{ path: "header.json", content: changed }, ...rest]);
    expect(await refusal(file)).toMatch(/header.json: differs from the manifest/);
  });

  test("when its header is not JSON", async () => {
    const file = await forge(([, ...rest]) => [{ path: "header.json", content: Buffer.from("{") }, ...rest]);
    expect(await refusal(file)).toMatch(/header.json: not acceptable JSON/);
  });

  test("when its manifest is an entry of another name", async () => {
    const good = await forge((entries) => entries);
    const text = Buffer.from("{}");
    const member = await entryMember("manifest.jsom", text, 9, tarEnd);
    expect(await refusal(closeWith(bodyOf(good), member, 2))).toMatch(/manifest.json: not of the snapshot/);
  });

  test.each([
    ["claims fewer bytes", -1],
    ["claims more bytes", +1],
    ["claims a gigabyte", 2 ** 30],
  ])("when its footer %s of the manifest than there are", async (_, more) => {
    const good = await forge((entries) => entries);
    const text = Buffer.from(`${"[".repeat(40)}${"]".repeat(40)}`);
    const member = await entryMember("manifest.json", text, 9, tarEnd);
    expect(await refusal(closeWith(bodyOf(good), member, text.byteLength))).toMatch(/not an object/);
    expect(await refusal(closeWith(bodyOf(good), member, text.byteLength + more))).toMatch(/not of|cannot be true/);
  });

  test("when its manifest does not end the tar", async () => {
    const good = await forge((entries) => entries);
    const text = Buffer.from("{}");
    const member = await entryMember("manifest.json", text, 9);
    expect(await refusal(closeWith(bodyOf(good), member, 2))).toMatch(/not of the snapshot/);
  });
});

describe("a member that its hash vouches for is refused", () => {
  const middle = `${folder}/a.000001`;
  const slice = content.subarray(300, 600);
  const tarOf = async (path: string, change: (tar: Buffer) => void) => {
    const { gunzipSync } = await import("node:zlib");
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
    ["has another name", "../../etc/passwd\0"],
    ["has an absolute name", "/etc/passwd\0"],
    ["has its neighbour's name", `${folder}/a.000002`],
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
  ])("when its entry is %s", async (_, type) => {
    expect(await withMember(await tarOf(middle, field(156, type)))).toMatch(/not the tar entry/);
  });

  test.each([
    ["another size", 124, "00000000455\0"],
    ["a size in base 256", 124, "\x80"],
    ["another time", 136, "00000000000\0"],
    ["the set-user-id bit", 100, "0004755\0"],
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

  test("when it holds a second entry", async () => {
    const { gunzipSync } = await import("node:zlib");
    const both = Buffer.concat([
      gunzipSync(await entryMember(middle, slice)),
      gunzipSync(await entryMember("evil", slice)),
    ]);
    expect(await withMember(memberOf(both))).toMatch(/not the tar entry/);
  });

  test("when it is two members", async () => {
    const { gunzipSync } = await import("node:zlib");
    const tar = gunzipSync(await entryMember(middle, slice));
    const member = Buffer.concat([memberOf(tar.subarray(0, 512)), memberOf(tar.subarray(512))]);
    expect(await withMember(member)).toMatch(/not the tar entry/);
  });

  test("when it is a bomb", async () => {
    expect(await withMember(memberOf(Buffer.alloc(100_000_000)))).toMatch(/not the tar entry/);
  });

  test("when it is not gzip at all", async () => {
    expect(await withMember(noise(700))).toMatch(/not the tar entry/);
  });

  test("when it holds what belongs to the stream, but not there", async () => {
    const swapped = await forge(([first, a, b, c]) => [first, b, a, c].flatMap((entry) => entry ?? []));
    expect(await refusal(swapped)).toMatch(/not the tar entry/);
  });

  test("when it has the right name and other content", async () => {
    expect(await withMember(await entryMember(middle, noise(300, "other")))).toMatch(/stream "a": not what was stored/);
  });
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
    ["when it is a bomb", gzipSync(Buffer.alloc(50_000_000)), plain, /not the gzip stream/],
  ])("%s", async (_, stored, claimed, message) => {
    expect(await packedAs(stored, claimed)).toMatch(message);
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

  test("entries of another snapshot are not taken", async () => {
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
