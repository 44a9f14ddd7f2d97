/** Properties over made-up input: whatever comes in, what comes out is a result or a UserError, within a second. */
import fc from "fast-check";
import { UserError } from "../../src/base/errors.ts";
import { say, seed } from "./sweep.ts";

const { KAA_SWEEP_SCALE, KAA_SWEEP_CASE } = process.env;
const scale = KAA_SWEEP_SCALE === undefined ? undefined : Number(KAA_SWEEP_SCALE);

/** Longest time that one input may take. */
const longestMs = 1_000;

export interface Fuzz<T> {
  readonly name: string;
  readonly runs: number;
  readonly sample: number;
  readonly input: fc.Arbitrary<T>;
  /** @throws UserError for what it refuses; anything else is a defect. */
  readonly act: (input: T) => unknown;
}

/** A failure tells fast-check's `path`: run again with it as `KAA_SWEEP_CASE`, and the same seed. */
export async function fuzz<T>({ name, runs, sample, input, act }: Fuzz<T>): Promise<void> {
  const numRuns = scale === undefined ? sample : Math.ceil(runs * scale);
  let slowestMs = 0;
  let refused = 0;
  const isRefused = async (given: T) => {
    try {
      await act(given);
      return false;
    } catch (error) {
      if (!(error instanceof UserError) || error.outcome === "internal") throw error;
      return true;
    }
  };
  const property = fc.asyncProperty(input, async (given) => {
    let tookMs = Number.POSITIVE_INFINITY;
    // What was slow because the machine was busy is quick when it is tried again.
    for (let tries = 0; tookMs > longestMs && tries < 3; tries += 1) {
      const startedAt = performance.now();
      if (await isRefused(given)) refused += 1;
      tookMs = performance.now() - startedAt;
    }
    slowestMs = Math.max(slowestMs, tookMs);
    if (tookMs > longestMs) throw new Error(`it took ${Math.round(tookMs)} ms`);
  });
  await fc.assert(property, { seed, numRuns, ...(KAA_SWEEP_CASE !== undefined && { path: KAA_SWEEP_CASE }) });
  say(
    `fuzz of ${name}: ${numRuns} inputs, seed ${seed}, ${refused} refused, the slowest took ${Math.ceil(slowestMs)} ms`,
  );
}

/** Bytes, and bytes of something valid that were cut, joined and changed. */
export function damagedBytes(valid: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  const piece = fc
    .tuple(
      fc.constantFrom(...valid),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
    )
    .map(([bytes, a, b]) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)].map((part) => Math.round(part * bytes.byteLength));
      return bytes.subarray(from, to);
    });
  const any = fc.uint8Array({ maxLength: 200 });
  const whole = fc.constantFrom(...valid);
  return fc.array(fc.oneof(piece, any, whole), { maxLength: 5 }).map((pieces) => Buffer.concat(pieces));
}
