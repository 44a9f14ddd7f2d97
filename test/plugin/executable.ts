/** Reads what a system's loader looks at first in an executable, so that programs for machines that we do not have are not
 *  taken on trust. Sources: ELF gABI, PE format (Microsoft), mach-o/loader.h and Security's cs_blobs.h (Apple). */
import { createHash } from "node:crypto";

export interface Executable {
  /** In Go's names, as targets have them. */
  readonly os: "linux" | "darwin" | "windows";
  readonly arch: "amd64" | "arm64";
}

/** @throws when the bytes are no executable of a kind that we make. */
export function readExecutable(bytes: Buffer): Executable {
  if (bytes.readUInt32BE(0) === 0x7f454c46) {
    const arch = { 62: "amd64", 183: "arm64" } as const;
    return { os: "linux", arch: known(arch, bytes.readUInt16LE(18)) };
  }
  if (bytes.readUInt32LE(0) === 0xfeedfacf) {
    const arch = { 16777223: "amd64", 16777228: "arm64" } as const;
    return { os: "darwin", arch: known(arch, bytes.readUInt32LE(4)) };
  }
  if (bytes.toString("latin1", 0, 2) === "MZ") {
    const header = bytes.readUInt32LE(0x3c);
    if (bytes.toString("latin1", header, header + 4) !== "PE\0\0") throw new Error("no PE header");
    return { os: "windows", arch: known({ 34404: "amd64", 43620: "arm64" } as const, bytes.readUInt16LE(header + 4)) };
  }
  throw new Error("neither ELF, Mach-O nor PE");
}

function known<Value>(values: Readonly<Record<number, Value>>, machine: number): Value {
  const value = values[machine];
  if (value === undefined) throw new Error(`machine ${machine}`);
  return value;
}

export interface Signature {
  readonly isAdHoc: boolean;
  readonly pages: number;
  /** Numbers of pages whose bytes are not what was signed. */
  readonly wrongPages: readonly number[];
  /** Bytes of the file that no page hash covers and that are not the signature itself. */
  readonly uncoveredBytes: number;
}

const loadCodeSignature = 0x1d;

/** The code signature in a thin 64-bit Mach-O file; undefined when it has none. Apple Silicon's kernel ends a program at the
 *  first page that is not as signed. */
export function readMachSignature(bytes: Buffer): Signature | undefined {
  let at = 32; // behind mach_header_64
  for (let left = bytes.readUInt32LE(16); left > 0; left--) {
    const [command, size] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
    if (command === loadCodeSignature) {
      const [offset, length] = [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)];
      return readSuperBlob(bytes, offset, length);
    }
    at += size;
  }
  return undefined;
}

/** Numbers in signatures are big-endian. */
function readSuperBlob(bytes: Buffer, offset: number, length: number): Signature {
  const blob = bytes.subarray(offset, offset + length);
  if (blob.readUInt32BE(0) !== 0xfade0cc0) throw new Error("no embedded signature");
  for (let index = 0; index < blob.readUInt32BE(8); index++) {
    const slot = 12 + 8 * index;
    if (blob.readUInt32BE(slot) !== 0) continue; // type 0: the code directory
    const directory = blob.subarray(blob.readUInt32BE(slot + 4));
    return {
      ...readCodeDirectory(bytes, directory),
      uncoveredBytes: bytes.length - length - directory.readUInt32BE(32),
    };
  }
  throw new Error("no code directory");
}

function readCodeDirectory(bytes: Buffer, directory: Buffer): Omit<Signature, "uncoveredBytes"> {
  if (directory.readUInt32BE(0) !== 0xfade0c02) throw new Error("the code directory is none");
  const [hashOffset, pages, codeLimit] = [16, 28, 32].map((field) => directory.readUInt32BE(field)) as [
    number,
    number,
    number,
  ];
  const [hashBytes, hashType, pageBytes] = [directory[36], directory[37], 2 ** (directory[39] ?? 0)];
  if (hashBytes !== 32 || hashType !== 2) throw new Error("hashes are not SHA-256");
  if (pages !== Math.ceil(codeLimit / pageBytes)) throw new Error("there is not one hash for each page");
  const wrongPages: number[] = [];
  for (let page = 0; page < pages; page++) {
    const content = bytes.subarray(page * pageBytes, Math.min((page + 1) * pageBytes, codeLimit));
    const signed = directory.subarray(hashOffset + 32 * page, hashOffset + 32 * (page + 1));
    if (!createHash("sha256").update(content).digest().equals(signed)) wrongPages.push(page);
  }
  return { isAdHoc: (directory.readUInt32BE(12) & 2) !== 0, pages, wrongPages };
}
