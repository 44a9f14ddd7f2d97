/** What the pod says it read and wrote: the last line that the wrapper puts on stderr. */
import type { Digest } from "../base/bytes.ts";

export interface Witness {
  /** Exit statuses; undefined when that part did not run or did not end. */
  readonly command: number | undefined;
  readonly decoder: number | undefined;
  readonly encoder: number | undefined;
  /** The input as it arrived. */
  readonly received: Digest | undefined;
  /** The output before and after encoding; `plain` is undefined when there was no encoding. */
  readonly plain: Digest | undefined;
  readonly sent: Digest | undefined;
}

/** Splits stderr into the wrapper's report and the command's own words. The nonce keeps the command from faking one. */
export function readWitness(stderr: string, nonce: string): { witness: Witness | undefined; words: string } {
  const mark = `\nkaa-backup ${nonce} `;
  const at = stderr.lastIndexOf(mark);
  if (at < 0) return { witness: undefined, words: stderr.trim() };
  const end = stderr.indexOf("\n", at + 1);
  if (end < 0) return { witness: undefined, words: stderr.trim() }; // cut in the middle
  const words = `${stderr.slice(0, at)}${stderr.slice(end)}`.trim();
  return { witness: parseReport(stderr.slice(at + mark.length, end)), words };
}

function parseReport(report: string): Witness {
  const number = (name: string) => {
    const found = new RegExp(`(?:^| )${name} (\\d+)(?= |$)`).exec(report)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  return {
    command: number("status"),
    decoder: number("decoder"),
    encoder: number("encoder"),
    received: parseDigest(report, "received"),
    plain: parseDigest(report, "plain"),
    sent: parseDigest(report, "sent"),
  };
}

/** Count and hash come from two processes, so in either order; openssl and sha256sum add a file name. */
function parseDigest(report: string, name: string): Digest | undefined {
  const found = new RegExp(`(?:^| )${name} ((?:\\d+|[0-9a-f]{64}|\\*stdin|\\*?-| )+)`).exec(report)?.[1];
  const words = found?.split(" ") ?? [];
  const sha256 = words.find((word) => word.length === 64);
  const bytes = words.find((word) => /^\d{1,20}$/.test(word));
  return sha256 === undefined || bytes === undefined ? undefined : { bytes: Number(bytes), sha256 };
}
