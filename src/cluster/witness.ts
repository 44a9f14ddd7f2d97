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

const keywords = new Set(["watch", "received", "decoder", "status", "plain", "encoder", "sent"]);

/** Words in any order of the parts: each part's keyword, followed by what belongs to it. */
function parseReport(report: string): Witness {
  const parts = new Map<string, string[]>();
  let part: string[] = [];
  for (const word of report.trim().split(" ")) {
    if (keywords.has(word)) {
      part = [];
      parts.set(word, part);
    } else part.push(word);
  }
  return {
    command: exitStatus(parts.get("status")),
    decoder: exitStatus(parts.get("decoder")),
    encoder: exitStatus(parts.get("encoder")),
    received: digestOfWords(parts.get("received")),
    plain: digestOfWords(parts.get("plain")),
    sent: digestOfWords(parts.get("sent")),
  };
}

function exitStatus(words: readonly string[] = []): number | undefined {
  const [word = ""] = words;
  return /^\d{1,3}$/.test(word) ? Number(word) : undefined;
}

/** Count and hash come from two processes, so in either order; openssl and sha256sum add a file name behind the hash. */
function digestOfWords(words: readonly string[] = []): Digest | undefined {
  const sha256 = words.find((word) => /^[0-9a-f]{64}$/.test(word));
  const bytes = words.find((word) => /^\d{1,16}$/.test(word));
  return sha256 === undefined || bytes === undefined ? undefined : { bytes: Number(bytes), sha256 };
}
