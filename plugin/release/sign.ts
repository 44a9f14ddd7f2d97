/** The ad-hoc code signature of a program for macOS. bun 1.4.5 signs what it makes for arm64; for amd64 it leaves the signature
 *  of its own executable behind, which no longer holds, and macOS ends a program whose pages are not as signed
 *  (oven-sh/bun#39837). An ad-hoc signature is hashes alone: no key, no certificate.
 *  Sources: Apple's xnu, bsd/kern/cs_blobs.h; Go's cmd/internal/codesign, which makes signatures of this form. */
import { createHash } from "node:crypto";

const pageBytes = 4096;
const hashBytes = 32;
const identity = "kubectl-kaa_backup\0";
const superBlobBytes = 20;
const directoryBytes = 88; // version 0x20400: up to the fields of the executable segment
const commands = { segment: 0x19, codeSignature: 0x1d } as const;

/** A copy of a thin 64-bit Mach-O file whose signature, which it must have, is replaced by an ad-hoc one.
 *  @throws when the signature does not end the file, so that it could not grow. */
export function signAdHoc(program: Buffer): Buffer {
  const { signature, linkedit, text } = findCommands(program);
  const offset = program.readUInt32LE(signature + 8);
  if (offset + program.readUInt32LE(signature + 12) !== program.length)
    throw new Error("the signature is not the last of the file");
  const pages = Math.ceil(offset / pageBytes);
  const length = superBlobBytes + directoryBytes + identity.length + pages * hashBytes;

  const signed = Buffer.concat([program.subarray(0, offset), Buffer.alloc(length)]);
  const linkeditBytes = BigInt(offset + length) - signed.readBigUInt64LE(linkedit + 40);
  signed.writeUInt32LE(length, signature + 12);
  signed.writeBigUInt64LE(((linkeditBytes + 0x3fffn) / 0x4000n) * 0x4000n, linkedit + 32); // in memory: whole pages
  signed.writeBigUInt64LE(linkeditBytes, linkedit + 48);

  writeSignature(signed, { offset, pages, textBytes: signed.readBigUInt64LE(text + 48) });
  return signed;
}

/** Where the load commands lie that a signature concerns. */
function findCommands(program: Buffer) {
  const found: Record<string, number> = {};
  let at = 32; // behind mach_header_64
  for (let left = program.readUInt32LE(16); left > 0; left--) {
    const command = program.readUInt32LE(at);
    if (command === commands.codeSignature) found["signature"] = at;
    if (command === commands.segment) found[program.toString("latin1", at + 8, at + 24).replace(/\0+$/, "")] = at;
    at += program.readUInt32LE(at + 4);
  }
  const { signature, __LINKEDIT: linkedit, __TEXT: text } = found;
  if (signature === undefined || linkedit === undefined || text === undefined)
    throw new Error("a load command is missing: LC_CODE_SIGNATURE, __LINKEDIT or __TEXT");
  return { signature, linkedit, text };
}

/** One super blob with one code directory. Its numbers are big-endian. */
function writeSignature(
  file: Buffer,
  { offset, pages, textBytes }: { readonly offset: number; readonly pages: number; readonly textBytes: bigint },
): void {
  const blob = file.subarray(offset);
  for (const [index, value] of [0xfade0cc0, blob.length, 1, 0, superBlobBytes].entries())
    blob.writeUInt32BE(value, 4 * index);
  const directory = blob.subarray(superBlobBytes);
  const hashesAt = directoryBytes + identity.length;
  const flags = 0x20002; // ad hoc, and "linker-signed": codesign may replace it without being forced
  const head = [0xfade0c02, directory.length, 0x20400, flags, hashesAt, directoryBytes, 0, pages, offset];
  for (const [index, value] of head.entries()) directory.writeUInt32BE(value, 4 * index);
  directory.set([hashBytes, 2 /* SHA-256 */, 0, Math.log2(pageBytes)], 36);
  directory.writeBigUInt64BE(textBytes, 72);
  directory.writeBigUInt64BE(1n, 80); // a main program
  directory.write(identity, directoryBytes, "latin1");
  for (let page = 0; page < pages; page++) {
    const content = file.subarray(page * pageBytes, Math.min((page + 1) * pageBytes, offset));
    directory.set(createHash("sha256").update(content).digest(), hashesAt + page * hashBytes);
  }
}
