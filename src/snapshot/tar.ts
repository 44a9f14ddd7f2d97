/** Tar entries, encoded in exactly one way, so that a reader compares whole headers byte for byte and needs no decoder.
 *  Regular files only: a ustar header, with a pax header in front when the path is longer than 100 characters.
 *  Own code rather than the `tar` package: these bytes are the format, and must not change when a library does.
 *  Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header". */

const blockBytes = 512;
const maxNameLength = 100;

/** One regular file as a tar header describes it. */
export interface TarFile {
  /** Relative, ASCII, parts joined by "/". */
  readonly path: string;
  /** Below 8 GiB, where ustar's eleven octal digits end. */
  readonly sizeBytes: number;
  /** Whole seconds count. */
  readonly modifiedAt: Date;
}

/** The blocks before the content. */
export function tarHead(file: TarFile): Buffer {
  if (file.path.length <= maxNameLength) return ustarBlock(file, "0");
  const record = paxRecord("path", file.path);
  const pax = { path: "pax-header", sizeBytes: record.byteLength, modifiedAt: file.modifiedAt };
  const short = { ...file, path: file.path.slice(0, maxNameLength) };
  return Buffer.concat([ustarBlock(pax, "x"), record, tarPadding(record.byteLength), ustarBlock(short, "0")]);
}

/** The zero bytes after content of this size, up to the end of a block. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((blockBytes - (sizeBytes % blockBytes)) % blockBytes);
}

/** What ends a tar: two zero blocks. */
export const tarEnd = Buffer.alloc(2 * blockBytes);

function ustarBlock(file: TarFile, type: "0" | "x"): Buffer {
  const block = Buffer.alloc(blockBytes);
  block.write(file.path, 0, maxNameLength, "latin1");
  block.write("0000600\0", 100, "latin1");
  block.write("0000000\0", 108, "latin1"); // user
  block.write("0000000\0", 116, "latin1"); // group
  block.write(octal(file.sizeBytes, 11), 124, "latin1");
  block.write(octal(Math.floor(file.modifiedAt.getTime() / 1000), 11), 136, "latin1");
  block.write("        ", 148, "latin1"); // the checksum is summed with its own field as spaces
  block.write(type, 156, "latin1");
  block.write("ustar\u000000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${octal(sum, 6)}\0 `, 148, "latin1");
  return block;
}

function octal(value: number, digits: number): string {
  const text = value.toString(8).padStart(digits, "0");
  if (text.length > digits || !/^[0-7]+$/.test(text)) throw new RangeError(`${value} does not fit a tar header`);
  return text;
}

/** "LENGTH key=value\n", where LENGTH counts the whole record, itself included. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return Buffer.from(`${length}${rest}`, "latin1");
}
