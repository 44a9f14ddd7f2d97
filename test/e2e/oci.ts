/** An OCI archive and what is in its layers, read without the tools that made it. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { list, type ReadEntry } from "tar";

export interface Image {
  readonly digest: string;
  readonly config: {
    readonly architecture: string;
    readonly os: string;
    readonly created: string;
    readonly config: {
      readonly User: string;
      readonly WorkingDir: string;
      readonly Entrypoint: readonly string[];
      readonly Env: readonly string[];
      readonly Labels: Readonly<Record<string, string>>;
    };
  };
  /** As the layers' tars tell, lowest layer first. */
  readonly entries: readonly Entry[];
  /** A folder with all layers unpacked. */
  readonly root: string;
}

export interface Entry {
  /** Without "./" and the last slash. */
  readonly path: string;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modifiedAt: Date;
}

/** Unpacks into `folder`, which must be there. Every blob must be what its name says.
 *  @returns the images by platform, "linux/amd64". */
export function readArchive(file: string, folder: string): ReadonlyMap<string, Image> {
  execFileSync("tar", ["-xf", file, "-C", folder]);
  const blob = (digest: string) => join(folder, "blobs", digest.replace(":", "/"));
  const json = (digest: string) => JSON.parse(readFileSync(blob(digest), "utf8"));
  for (const name of readdirSync(join(folder, "blobs/sha256"))) {
    const bytes = readFileSync(blob(`sha256:${name}`));
    if (createHash("sha256").update(bytes).digest("hex") !== name) throw new Error(`blob ${name} is something else`);
  }
  const [top] = JSON.parse(readFileSync(join(folder, "index.json"), "utf8")).manifests;
  const images = json(top.digest).manifests.map(({ digest, platform }: Descriptor): [string, Image] => {
    const manifest = json(digest);
    const layers: string[] = manifest.layers.map((layer: Descriptor) => blob(layer.digest));
    const root = join(folder, `root-${platform.architecture}`);
    mkdirSync(root);
    for (const layer of layers) execFileSync("tar", ["-xzf", layer, "-C", root]);
    const image = { digest, config: json(manifest.config.digest), entries: layers.flatMap(entriesOf), root };
    return [`${platform.os}/${platform.architecture}`, image];
  });
  return new Map(images);
}

interface Descriptor {
  readonly digest: string;
  readonly platform: { readonly os: string; readonly architecture: string };
}

function entriesOf(layer: string): Entry[] {
  const entries: Entry[] = [];
  const onReadEntry = ({ path, type, mode, uid, gid, mtime }: ReadEntry) => {
    if (mode === undefined || uid === undefined || gid === undefined || mtime === undefined)
      throw new Error(`${path} has an incomplete header`);
    entries.push({ path: path.replace(/^\.\//, "").replace(/\/$/, ""), type, mode, uid, gid, modifiedAt: mtime });
  };
  list({ file: layer, sync: true, onReadEntry });
  return entries;
}

export interface Elf {
  readonly path: string;
  /** "amd64", "arm64", or the number of another. */
  readonly machine: string;
  /** Names of shared libraries, and the interpreter's path. */
  readonly needs: readonly string[];
}

/** Every ELF file below a folder. Source: elf(5); all of them are 64 bits wide and little-endian, or this throws. */
export function elfFiles(root: string): readonly Elf[] {
  const paths = readdirSync(root, { recursive: true, encoding: "utf8" });
  return paths.flatMap((path) => {
    if (!lstatSync(join(root, path)).isFile()) return [];
    const bytes = readFileSync(join(root, path));
    return bytes.subarray(0, 4).equals(magic) ? [parseElf(path, bytes)] : [];
  });
}

const magic = Buffer.from("\x7fELF", "latin1");
const machines: Readonly<Record<number, string>> = { 62: "amd64", 183: "arm64" };

function parseElf(path: string, bytes: Buffer): Elf {
  if (bytes[4] !== 2 || bytes[5] !== 1) throw new Error(`${path} is not a 64-bit little-endian ELF file`);
  const long = (at: number) => Number(bytes.readBigUInt64LE(at));
  const textAt = (at: number) => bytes.toString("latin1", at, bytes.indexOf(0, at));
  const number = bytes.readUInt16LE(18);
  const segments = Array.from({ length: bytes.readUInt16LE(56) }, (_, n) => {
    const at = long(32) + n * bytes.readUInt16LE(54);
    return { type: bytes.readUInt32LE(at), offset: long(at + 8), address: long(at + 16), sizeBytes: long(at + 32) };
  });
  const needs = segments.filter(({ type }) => type === 3).map(({ offset }) => textAt(offset));
  const dynamic = segments.find(({ type }) => type === 2);
  if (dynamic !== undefined) {
    const tags = Array.from({ length: dynamic.sizeBytes / 16 }, (_, n) => {
      const at = dynamic.offset + n * 16;
      return { tag: long(at), value: long(at + 8) };
    });
    const names = tags.find(({ tag }) => tag === 5)?.value ?? 0;
    const holder = segments.find(
      (each) => each.type === 1 && names >= each.address && names < each.address + each.sizeBytes,
    );
    const offset = names - (holder?.address ?? 0) + (holder?.offset ?? 0);
    needs.push(...tags.filter(({ tag }) => tag === 1).map(({ value }) => textAt(offset + value)));
  }
  return { path, machine: machines[number] ?? String(number), needs };
}
