/** Makes the golden snapshots of the present format version: `node test/snapshot/make-golden.ts`. Files that are there already
 *  are never replaced: they stand for those that users have, which must be readable for ever. */
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { crc32, gunzipSync } from "node:zlib";
import { type Digest, digestOf } from "../../src/base/bytes.ts";
import { segmentBytes } from "../../src/snapshot/limits.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import type { Manifest, Segment } from "../../src/snapshot/toc.ts";
import type { Dump } from "../../src/snapshot/writer.ts";
import {
  bodyOf,
  close,
  entryMember,
  type Forged,
  headerEntry,
  lay,
  manifestOf,
  memberOf,
  slices,
  streamOf,
  withManifest,
} from "./forge.ts";
import { dumpOf, facts, fileOf, header, make, never, noise, send } from "./make.ts";
import { smallSnapshot } from "./small.ts";

const folder = "postgresql/kaa-postgresql";
const row = "INSERT INTO endpoint VALUES (42, 'alpha');\n";

/** The dumps of the golden file "writer", from which its test makes them again. */
export function writerDumps(): Dump[] {
  const plain = Buffer.from(row.repeat(50));
  return [
    dumpOf(
      "postgresql",
      "kaa-postgresql",
      { name: "globals.sql", content: Buffer.from("CREATE ROLE app;\n") },
      { name: "databases/app.dump", content: Buffer.alloc(segmentBytes + 1, row) },
      { name: "databases/empty.dump", content: Buffer.alloc(0) },
      { name: `databases/${"%D0%9A".repeat(30)}.dump`, content: Buffer.from(row) },
    ),
    dumpOf("vault", "kaa-vault", {
      name: "secrets",
      encoding: "gzip",
      content: storedGzip(plain),
      plain: digestOf(plain),
    }),
  ];
}

/** The same bytes on every machine, which no zlib promises. Up to 65535 bytes. */
function storedGzip(content: Buffer): Buffer {
  const sizes = Buffer.alloc(4);
  sizes.writeUInt16LE(content.byteLength, 0);
  sizes.writeUInt16LE(content.byteLength ^ 0xffff, 2);
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(content), 0);
  trailer.writeUInt32LE(content.byteLength, 4);
  return Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1]), sizes, content, trailer]);
}

const again: Dump = {
  storage: "mongodb",
  instance: "kaa-mongodb",
  async run(output) {
    await send(output, { name: "archive", content: noise(500) });
    output.restart();
    await send(output, { name: "archive", content: noise(600) });
    return facts;
  },
};

async function good(): Promise<Record<string, Forged>> {
  const small = await smallSnapshot();
  const { manifest } = await openSnapshot(fileOf(small), never);
  return {
    nothing: await make([], { header: { ...header, name: "01-01-2024-00-00-00" } }),
    everything: small,
    writer: await make(writerDumps()),
    partial: await make([again], {
      failures: [{ storage: "minio", instance: "kaa-minio", reason: "no pod is ready" }],
    }),
    "unknown-keys": await withManifest({ ...small, manifest }, { ...manifest, later: { than: [1] } }),
  };
}

async function bad(): Promise<Record<string, Forged>> {
  const small = await smallSnapshot();
  const { manifest } = await openSnapshot(fileOf(small), never);
  const { bytes } = small;
  const changed = (values: object) => withManifest({ ...small, manifest }, { ...manifest, ...values });
  const flipped = Buffer.from(bytes);
  flipped.writeUInt8(flipped.readUInt8(1_000) ^ 1, 1_000);
  return {
    "bit-flipped": { ...small, bytes: flipped },
    cut: { ...small, bytes: bytes.subarray(0, -1) },
    "cut-at-a-member": { ...small, bytes: bodyOf(small) },
    "byte-behind": { ...small, bytes: Buffer.concat([bytes, Buffer.alloc(1)]) },
    twice: { ...small, bytes: Buffer.concat([bytes, bytes]) },
    renamed: { ...small, fileName: "12-02-2021-15-28-38.tar.gz" },
    "renamed-partial": { ...small, fileName: "12-02-2021-15-28-37.partial.tar.gz" },
    "newer-format": await changed({ formatVersion: 2 }),
    "needs-a-feature": await changed({ requires: ["deduplication"] }),
    "not-listed": await changed({ discarded: manifest.discarded.slice(1) }),
    "deep-json": await close(bodyOf(small), Buffer.from("[".repeat(100_000))),
    traversal: await changed({ discarded: manifest.discarded.map((each) => ({ ...each, path: "../../x/y.000000" })) }),
    "in-a-live-folder": await withDiscardedIn(manifest, small),
    ...(await badMembers()),
  };
}

function withDiscardedIn(manifest: Manifest, small: Forged): Promise<Forged> {
  const live = manifest.instances[0]?.folder;
  const discarded = manifest.discarded.map((each, index) => ({ ...each, path: `${live}/rows.sql.00009${index}` }));
  return withManifest({ ...small, manifest }, { ...manifest, discarded });
}

/** Files in which the second of three segments is wrong, and all hashes are right. */
async function badMembers(): Promise<Record<string, Forged>> {
  const content = noise(900);
  const path = `${folder}/a.000001`;
  const slice = content.subarray(300, 600);
  const tar = gunzipSync(await entryMember(path, slice));
  const forge = async (member: Buffer) => {
    const entries = [headerEntry(), ...slices(`${folder}/a`, content, 300)].map((entry) =>
      entry.path === path ? { ...entry, member } : entry,
    );
    const { body, segments } = await lay(entries);
    return await close(body, manifestWith(content, segments));
  };
  const link = Buffer.from(tar);
  link.write("2", 156, "latin1");
  link.write("/etc/passwd", 157, "latin1");
  const padded = Buffer.from(tar);
  padded.writeUInt8(1, padded.byteLength - 1);
  return {
    "symbolic-link": await forge(memberOf(link)),
    "padding-not-zero": await forge(memberOf(padded)),
    "other-name": await forge(await entryMember(`${folder}/b.000001`, slice)),
    "other-content": await forge(await entryMember(path, noise(300, "other"))),
    "two-members": await forge(Buffer.concat([memberOf(tar.subarray(0, 512)), memberOf(tar.subarray(512))])),
    bomb: await forge(memberOf(Buffer.alloc(20_000_000))),
  };
}

function manifestWith(content: Buffer, [headerSegment, ...segments]: readonly Segment[]) {
  return manifestOf({ headerSegment, streams: [streamOf("a", content, segments)] });
}

async function save(verdict: "good" | "bad", files: Record<string, Forged>): Promise<void> {
  for (const [title, { fileName, bytes }] of Object.entries(files)) {
    await saveOnce(`${verdict}/${title}/${fileName}`, bytes);
  }
}

/** What the streams of each file are, for the test to compare. */
async function contentsOf(files: Record<string, Forged>): Promise<string> {
  const contents: Record<string, Record<string, Digest>> = {};
  for (const [title, file] of Object.entries(files)) {
    const { manifest } = await openSnapshot(fileOf(file), never);
    const streams = manifest.instances.flatMap(({ folder, streams }) =>
      streams.map(({ name, stored }) => [`${folder}/${name}`, stored] as const),
    );
    contents[title] = Object.fromEntries(streams);
  }
  return `${JSON.stringify(contents, null, 2)}\n`;
}

async function saveOnce(path: string, content: Buffer | string): Promise<void> {
  const at = new URL(`golden/v1/${path}`, import.meta.url);
  await mkdir(new URL(".", at), { recursive: true });
  try {
    await writeFile(at, content, { flag: "wx" });
    console.log(`made ${path}`);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const goodFiles = await good();
  await save("good", goodFiles);
  await saveOnce("good.json", await contentsOf(goodFiles));
  await save("bad", await bad());
}
