import type { Random } from "./sweep.ts";

/** Offset, length and other values of the fields of a ustar head. Source: POSIX.1-2017, pax, "ustar Interchange Format". */
const fields: Readonly<Record<string, readonly [at: number, bytes: number, values: readonly string[]]>> = {
  name: [0, 100, ["../../etc/passwd", "/etc/passwd", "header.json", "manifest.json", "x", "a/../b", "postgresql"]],
  mode: [100, 8, ["0000644\0", "0004755\0", "0000777\0"]],
  user: [108, 8, ["0001750\0", "7777777\0"]],
  group: [116, 8, ["0001750\0", "7777777\0"]],
  size: [124, 12, ["00000000000\0", "00000000001\0", "77777777777\0", "\x80\0\0\0\0\0\0\0\0\0\x01\0", "-0000000001\0"]],
  time: [136, 12, ["00000000000\0", "77777777777\0", "14012345678\0"]],
  type: [156, 1, ["1", "2", "3", "4", "5", "6", "7", "g", "x", "L", "K", "S", "\0", "V"]],
  link: [157, 100, ["/etc/passwd", "../x"]],
  magic: [257, 8, ["ustar  \0", "\0\0\0\0\0\0\0\0"]],
  userName: [265, 32, ["root"]],
  groupName: [297, 32, ["root"]],
  device: [329, 16, ["0000001\u00000000001\0"]],
  prefix: [345, 155, ["/tmp", ".."]],
  rest: [500, 12, ["x", "\0\0x"]],
};

/** A copy in which one field of the first tar head has one of these values, and the head its right check sum. */
export function editTarHead(original: Buffer, random: Random): Buffer {
  const content = Buffer.from(original);
  const [at, bytes, values] = random.pick(Object.values(fields));
  content.fill(0, at, at + bytes);
  content.write(random.pick(values), at, bytes, "latin1");
  content.fill(" ", 148, 156);
  const sum = content.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  content.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return content;
}
