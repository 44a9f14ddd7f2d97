/** The end of a snapshot file: an empty gzip member whose extra field says where the manifest is. Every tool that unpacks
 *  gzip passes over it. Source: RFC 1952, 2.3.1.1 "Extra field". */
import type { Segment } from "./toc.ts";

const magic = "KaaSnap1";

/** Size of the footer, and so the last bytes of every snapshot file. */
export const footerBytes = 90;

/** The one footer for a manifest that lies there. */
export function encodeFooter(manifest: Segment): Buffer {
  const footer = Buffer.alloc(footerBytes);
  footer.set([0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]); // deflate, FEXTRA, no time, system "unknown"
  footer.writeUInt16LE(68, 10); // the extra field: one subfield "KB" of 64 bytes
  footer.write("KB", 12, "latin1");
  footer.writeUInt16LE(64, 14);
  footer.write(magic, 16, "latin1");
  footer.writeBigUInt64LE(BigInt(manifest.offset), 24);
  footer.writeBigUInt64LE(BigInt(manifest.length), 32);
  footer.writeBigUInt64LE(BigInt(manifest.bytes), 40);
  footer.write(manifest.sha256, 48, "hex");
  footer.set([3, 0], 80); // an empty deflate stream; its CRC-32 and size are zero
  return footer;
}

/** Where the manifest lies, or undefined for anything but bytes that `encodeFooter` makes. */
export function decodeFooter(footer: Buffer): Segment | undefined {
  if (footer.byteLength !== footerBytes) return undefined;
  const manifest: Segment = {
    offset: Number(footer.readBigUInt64LE(24)),
    length: Number(footer.readBigUInt64LE(32)),
    bytes: Number(footer.readBigUInt64LE(40)),
    sha256: footer.toString("hex", 48, 80),
  };
  const isSafe = [manifest.offset, manifest.length, manifest.bytes].every(Number.isSafeInteger);
  return isSafe && encodeFooter(manifest).equals(footer) ? manifest : undefined;
}
