/** Ways to damage a snapshot. Plain ones change bytes and leave the hashes as they are; vouched ones change what the file says
 *  and make every hash, length and offset anew, as a defective writer or somebody with bad intentions would.
 *
 *  What the format leaves to its writer is not damage and is not made here: another level of compression, another order of
 *  segments or lists, and the facts of a manifest that nothing in the file contradicts (`freeFacts`). */
import { crc32, deflateRawSync, gunzipSync } from "node:zlib";
import { digestOf } from "../../src/base/bytes.ts";
import { footerBytes } from "../../src/snapshot/footer.ts";
import type { Manifest, Segment } from "../../src/snapshot/toc.ts";
import { close, type Forged, memberOf } from "../snapshot/forge.ts";
import type { Random } from "./sweep.ts";
import { changeTable } from "./table-edit.ts";
import { editTarHead } from "./tar-edit.ts";

/** One gzip member and what stands in it. */
interface Member {
  readonly bytes: Buffer;
  readonly path: string;
  /** Of a stream; else of the header, the manifest, or something discarded. */
  readonly ofStream: boolean;
}

/** A snapshot taken apart. */
export interface Parts {
  readonly file: Forged;
  readonly manifest: Manifest;
  /** In the order of the file, without the manifest. */
  readonly members: readonly Member[];
  readonly manifestMember: Buffer;
  readonly footer: Buffer;
}

export function takeApart(file: Forged, manifest: Manifest): Parts {
  const at = ({ offset, length }: Segment) => file.bytes.subarray(offset, offset + length);
  const entries: (Segment & Omit<Member, "bytes">)[] = [
    { ...manifest.headerSegment, path: "header.json", ofStream: false },
    ...manifest.discarded.map((segment) => ({ ...segment, ofStream: false })),
    ...manifest.instances.flatMap(({ streams }) =>
      streams.flatMap(({ name, segments }) => segments.map((segment) => ({ ...segment, path: name, ofStream: true }))),
    ),
  ].sort((a, b) => a.offset - b.offset);
  const end = entries.reduce((sum, { length }) => sum + length, 0);
  return {
    file,
    manifest,
    members: entries.map((entry) => ({ bytes: at(entry), path: entry.path, ofStream: entry.ofStream })),
    manifestMember: file.bytes.subarray(end, -footerBytes),
    footer: file.bytes.subarray(-footerBytes),
  };
}

/** @returns the damaged file, or undefined when there is nothing to damage in this way. */
type Damage = (parts: Parts, random: Random) => Buffer | undefined | Promise<Buffer | undefined>;

const plain: Readonly<Record<string, Damage>> = {
  "several bits flipped": ({ file }, random) => {
    const bytes = Buffer.from(file.bytes);
    for (let left = random.between(2, 16); left > 0; left -= 1) {
      const at = random.below(bytes.byteLength);
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random.below(8)), at);
    }
    return bytes;
  },
  "a run of other bytes": ({ file }, random) => {
    const [at, length] = run(file.bytes, 64, random);
    return Buffer.concat([file.bytes.subarray(0, at), random.bytes(length), file.bytes.subarray(at + length)]);
  },
  "a run of zeros": ({ file }, random) => {
    const [at, length] = run(file.bytes, 512, random);
    return Buffer.from(file.bytes).fill(0, at, at + length);
  },
  "a run left out": ({ file }, random) => {
    const [at, length] = run(file.bytes, 600, random);
    return Buffer.concat([file.bytes.subarray(0, at), file.bytes.subarray(at + length)]);
  },
  "a run put in": ({ file }, random) => {
    const at = random.below(file.bytes.byteLength + 1);
    return Buffer.concat([file.bytes.subarray(0, at), random.bytes(random.between(1, 64)), file.bytes.subarray(at)]);
  },
  "a run copied elsewhere": ({ file }, random) => {
    const [at, length] = run(file.bytes, 600, random);
    const bytes = Buffer.from(file.bytes);
    file.bytes.copy(bytes, random.below(bytes.byteLength - length + 1), at, at + length);
    return bytes;
  },
  "the end lost and zeros in its place": ({ file }, random) =>
    Buffer.from(file.bytes).fill(0, random.below(file.bytes.byteLength)),
  "something behind": ({ file }, random) => Buffer.concat([file.bytes, foreign(file, random)]),
  "something in front": ({ file }, random) => Buffer.concat([foreign(file, random), file.bytes]),
  "two members changed places": (parts, random) => {
    const members = membersOf(parts);
    const [a, b] = [random.below(members.length), random.below(members.length)];
    [members[a], members[b]] = [members[b] ?? Buffer.alloc(0), members[a] ?? Buffer.alloc(0)];
    return joined(parts, members);
  },
  "a member twice": (parts, random) => {
    const members = membersOf(parts);
    members.splice(random.below(members.length + 1), 0, random.pick(members));
    return joined(parts, members);
  },
  "a member left out": (parts, random) => {
    const members = membersOf(parts);
    members.splice(random.below(members.length), 1);
    return joined(parts, members);
  },
  "an empty member put in": (parts, random) => {
    const members = membersOf(parts);
    members.splice(random.below(members.length + 1), 0, memberOf(Buffer.alloc(0)));
    return joined(parts, members);
  },
  "a footer of other figures": ({ file, footer }, random) => {
    const changed = Buffer.from(footer);
    const at = random.pick([24, 32, 40]);
    changed.writeBigUInt64LE(changed.readBigUInt64LE(at) + BigInt(random.pick([-1, 1, 512, -512, 90])), at);
    return Buffer.concat([file.bytes.subarray(0, -footerBytes), changed]);
  },
};

/** Damage to one member, which stays one gzip file for every tool that is not strict. */
const ofMember: Readonly<Record<string, (member: Buffer, random: Random) => Buffer | undefined>> = {
  "gzip head": (member, random) => headEdited(member, random),
  "gzip trailer": (member, random) => {
    const bytes = Buffer.from(member);
    const at = bytes.byteLength - random.between(1, 8);
    bytes.writeUInt8(bytes.readUInt8(at) ^ random.between(1, 255), at);
    return bytes;
  },
  "split in two": (member, random) => {
    const content = gunzipSync(member);
    const at = random.below(content.byteLength + 1);
    return Buffer.concat([memberOf(content.subarray(0, at)), memberOf(content.subarray(at))]);
  },
  "bytes behind the deflate stream": (member, random) =>
    Buffer.concat([member.subarray(0, -8), random.bytes(random.between(1, 9)), member.subarray(-8)]),
  "zeros behind it": (member, random) => Buffer.concat([member, Buffer.alloc(random.between(1, 600))]),
  "tar head": (member, random) => {
    const content = gunzipSync(member);
    const edited = editTarHead(content, random);
    // The same content compressed otherwise is no damage.
    return edited.equals(content) ? undefined : memberOf(edited);
  },
  "tar padding": (member, random) => {
    const content = gunzipSync(member);
    return memberOf(Buffer.concat([content, Buffer.alloc(512 * random.between(1, 3))]));
  },
  "another entry behind it": (member, random) => {
    const content = gunzipSync(member);
    return memberOf(random.next() < 0.5 ? Buffer.concat([content, content]) : content.subarray(0, -512));
  },
  "a preset of the deflate stream that never ends": (member) => {
    const content = gunzipSync(member);
    const open = deflateRawSync(content, { finishFlush: 2 }); // Z_SYNC_FLUSH: no last block
    return Buffer.concat([member.subarray(0, 10), open, member.subarray(-8)]);
  },
};

const vouched: Readonly<Record<string, Damage>> = {
  "members under each other's names": (parts, random) => {
    const [a, b] = [random.below(parts.members.length), random.below(parts.members.length)];
    if (a === b) return undefined;
    const members = parts.members.map(({ bytes }) => bytes);
    [members[a], members[b]] = [members[b] ?? Buffer.alloc(0), members[a] ?? Buffer.alloc(0)];
    return vouchedFor(parts, members);
  },
  "content that its stream's digest does not know": (parts, random) => {
    const index = random.pick(indexesOf(parts, ({ ofStream, bytes }) => ofStream && sizeIn(bytes) > 0));
    const content = Buffer.from(gunzipSync(parts.members[index]?.bytes ?? Buffer.alloc(0)));
    const head = contentAt(content);
    const at = head + random.below(sizeIn(parts.members[index]?.bytes ?? Buffer.alloc(0)));
    content.writeUInt8(content.readUInt8(at) ^ (1 << random.below(8)), at);
    return vouchedFor(parts, replaced(parts, index, memberOf(content)));
  },
  "a value in the table of contents": async (parts, random) => {
    const manifest = changeTable(parts.manifest, random);
    return (await close(Buffer.concat(parts.members.map(({ bytes }) => bytes)), manifest)).bytes;
  },
  "a table of contents that is no JSON": async (parts, random) => {
    const text = Buffer.from(`${JSON.stringify(parts.manifest)}\n`);
    const broken = random.pick([
      () => text.subarray(0, random.below(text.byteLength - 2)),
      () => Buffer.concat([text, random.pick([Buffer.from("{}"), Buffer.from([0]), text])]),
      () => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), text]),
      () => Buffer.from(text).fill(0xff, random.below(text.byteLength - 1)),
      () => Buffer.from(text.toString("utf8"), "utf16le"),
    ])();
    return (await close(Buffer.concat(parts.members.map(({ bytes }) => bytes)), broken)).bytes;
  },
};

/** All kinds by name. */
export const damages: Readonly<Record<string, Damage>> = {
  ...plain,
  ...vouched,
  ...Object.fromEntries(
    Object.entries(ofMember).flatMap(([name, edit]): [string, Damage][] => [
      [
        `${name} of a member`,
        (parts, random) => {
          const members = membersOf(parts);
          const index = random.below(members.length);
          const member = edit(members[index] ?? Buffer.alloc(0), random);
          return member && joined(parts, members.with(index, member));
        },
      ],
      [
        `${name} of a member, vouched for`,
        (parts, random) => {
          const index = random.below(parts.members.length);
          const member = edit(parts.members[index]?.bytes ?? Buffer.alloc(0), random);
          return member && vouchedFor(parts, replaced(parts, index, member));
        },
      ],
    ]),
  ),
};

function run(bytes: Buffer, longest: number, random: Random): readonly [at: number, length: number] {
  const at = random.below(bytes.byteLength);
  return [at, random.between(1, Math.min(longest, bytes.byteLength - at))];
}

function foreign({ bytes }: Forged, random: Random): Buffer {
  return random.pick([
    () => random.bytes(random.between(1, 100)),
    () => Buffer.alloc(random.between(1, 1100)),
    () => Buffer.from("\n"),
    () => memberOf(Buffer.alloc(random.pick([0, 512, 1024]))),
    () => bytes.subarray(-footerBytes),
    () => bytes.subarray(random.below(bytes.byteLength - 1)),
    () => bytes,
  ])();
}

/** All members, the manifest's at last; a copy. */
function membersOf({ members, manifestMember }: Parts): Buffer[] {
  return [...members.map(({ bytes }) => bytes), manifestMember];
}

function joined({ footer }: Parts, members: readonly Buffer[]): Buffer {
  return Buffer.concat([...members, footer]);
}

function replaced({ members }: Parts, index: number, bytes: Buffer): Buffer[] {
  return members.map((member, at) => (at === index ? bytes : member.bytes));
}

function indexesOf({ members }: Parts, isWanted: (member: Member) => boolean): number[] {
  return members.flatMap((member, index) => (isWanted(member) ? [index] : []));
}

/** The file of these members, in the order of `parts`, with a manifest and a footer that know their lengths and hashes. */
async function vouchedFor(parts: Parts, members: readonly Buffer[]): Promise<Buffer> {
  let offset = 0;
  const places = new Map<string, Segment>();
  const originals = segmentsOf(parts.manifest);
  members.forEach((bytes, index) => {
    const { length, sha256 } = { length: bytes.byteLength, sha256: digestOf(bytes).sha256 };
    const original = originals[index];
    if (original !== undefined) places.set(String(original.offset), { ...original, offset, length, sha256 });
    offset += length;
  });
  const moved = <T extends Segment>(segment: T): T => ({ ...segment, ...places.get(String(segment.offset)) });
  const manifest: Manifest = {
    ...parts.manifest,
    headerSegment: moved(parts.manifest.headerSegment),
    discarded: parts.manifest.discarded.map(moved),
    instances: parts.manifest.instances.map((instance) => ({
      ...instance,
      streams: instance.streams.map((stream) => ({ ...stream, segments: stream.segments.map(moved) })),
    })),
  };
  return (await close(Buffer.concat(members), manifest)).bytes;
}

function segmentsOf({ headerSegment, discarded, instances }: Manifest): Segment[] {
  const streams = instances.flatMap((instance) => instance.streams.flatMap(({ segments }) => segments));
  return [headerSegment, ...discarded, ...streams].sort((a, b) => a.offset - b.offset);
}

/** Where content begins in an unpacked member: behind one head, or behind three blocks when the path is long. */
function contentAt(unpacked: Buffer): number {
  return unpacked.subarray(0, 10).toString("latin1") === "pax-header" ? 3 * 512 : 512;
}

function sizeIn(member: Buffer): number {
  const unpacked = gunzipSync(member);
  const head = contentAt(unpacked);
  return Number.parseInt(unpacked.toString("latin1", head - 512 + 124, head - 512 + 135), 8);
}

const flags = { text: 1, headCrc: 2, extra: 4, name: 8, comment: 16 } as const;

/** Fields of a gzip head that every other tool passes over. Source: RFC 1952, 2.3. */
function headEdited(member: Buffer, random: Random): Buffer {
  const head = Buffer.from(member.subarray(0, 10));
  const rest = member.subarray(10);
  const flagged = (flag: number, more: Buffer) => {
    head.writeUInt8(flag, 3);
    const crc = Buffer.alloc(2);
    crc.writeUInt16LE(crc32(Buffer.concat([head, more])) & 0xffff);
    return Buffer.concat([head, flag === flags.headCrc ? crc : more, rest]);
  };
  return random.pick([
    () => flagged(flags.text, Buffer.alloc(0)),
    () => flagged(flags.headCrc, Buffer.alloc(0)),
    () => flagged(flags.extra, Buffer.from([2, 0, 0x4b, 0x42])),
    () => flagged(flags.name, Buffer.from("dump.tar\0")),
    () => flagged(flags.comment, Buffer.from("hello\0")),
    () => Buffer.concat([head.fill(random.between(1, 255), 4, 8), rest]), // time
    () => Buffer.concat([head.fill(random.pick([2, 4, 255]), 8, 9), rest]), // level
    () => Buffer.concat([head.fill(random.below(255), 9, 10), rest]), // system
  ])();
}
