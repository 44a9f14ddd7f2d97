/** Durations as Go and kubectl write them. */
import { UserError } from "../base/errors.ts";

const unitsMs = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const longestMs = 2 ** 31 - 1; // the longest that a timer takes: 24 days
const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g;

/** "90", which means seconds, or "1m30s", "500ms", "1.5h". 0 stands for no limit.
 *  @param flag what the value was given to, for the error.
 *  @throws UserError `usage`. */
export function parseDurationMs(value: string, flag: string): number {
  const parts = [...value.matchAll(part)];
  const isDuration = parts.length > 0 && parts.map(([whole]) => whole).join("") === value;
  if (!isDuration && !/^\d+$/.test(value)) {
    throw new UserError("usage", `${flag}: "${value}" is no duration`, {
      hints: ["for example 30s, 1m30s, or 0 for no limit"],
    });
  }
  const sum = (total: number, [, count = "", unit = ""]: RegExpExecArray | RegExpMatchArray) =>
    total + Number(count) * unitsMs[unit as keyof typeof unitsMs]; // the units that `part` matches
  const exactMs = isDuration ? parts.reduce(sum, 0) : Number(value) * unitsMs.s;
  // What is less than a millisecond is not "no limit".
  return Math.min(exactMs === 0 ? 0 : Math.max(1, Math.round(exactMs)), longestMs);
}
