/** Tar headers, written in exactly one way, so that a reader can compare whole headers byte for byte. Regular files only:
 *  ustar, and a pax `path` record in front for names that ustar cannot hold. Source: POSIX.1-2017 pax, "ustar Interchange
 *  Format" and "pax Extended Header". Own code and not the `tar` package: these bytes are the format, and must not change
 *  when a library does. */

const blockBytes = 512;
/** Content above this would need a pax `size` record; segments and manifests are far smaller. */
const maxSizeBytes = 8 ** 11 - 1;

export interface TarEntry {
  /** Relative, parts joined by "/". */
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedAt: Date;
}

/** The header blocks of an entry: 512 bytes, more for a long path. */
export function tarHeader(entry: TarEntry): Buffer {
  const path = Buffer.from(entry.path, "utf8");
  if (path.byteLength <= 100) return ustarBlock(entry, path, "0");
  const record = paxRecord("path", entry.path);
  const pax = ustarBlock({ ...entry, sizeBytes: record.byteLength }, Buffer.from("pax-header"), "x");
  return Buffer.concat([
    pax,
    record,
    Buffer.alloc(paddingBytes(record.byteLength)),
    ustarBlock(entry, path.subarray(0, 100), "0"),
  ]);
}

/** Zero bytes that fill the last block of an entry of this size. */
export function paddingBytes(sizeBytes: number): number {
  return (blockBytes - (sizeBytes % blockBytes)) % blockBytes;
}

/** What ends a tar: two zero blocks. */
export const tarEnd = Buffer.alloc(2 * blockBytes);

function ustarBlock(entry: TarEntry, name: Buffer, type: "0" | "x"): Buffer {
  if (entry.sizeBytes > maxSizeBytes) throw new RangeError(`a tar entry of ${entry.sizeBytes} bytes`);
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number) =>
    block.write(value.toString(8).padStart(digits, "0"), at, "latin1");
  name.copy(block, 0);
  octal(0o600, 100, 7);
  octal(0, 108, 7); // uid
  octal(0, 116, 7); // gid
  octal(entry.sizeBytes, 124, 11);
  octal(Math.floor(entry.modifiedAt.getTime() / 1000), 136, 11);
  block.fill(" ", 148, 156); // the checksum counts its own field as spaces
  block.write(type, 156, "latin1");
  block.write("ustar\u000000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** "LENGTH key=value\n", where LENGTH counts the whole record with itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return Buffer.from(`${length} ${key}=${value}\n`);
}
