/** Sweeps: one invariant, very many cases. Every case has a number, and makes its choices from the seed and that number alone,
 *  so that a failure can be run again by itself.
 *
 *  `KAA_SWEEP_SEED` another seed · `KAA_SWEEP_SCALE` 1 for all cases, 0.1 for a tenth; absent: a sample that takes seconds ·
 *  `KAA_SWEEP_CASE` this one case only. */
const { KAA_SWEEP_SEED, KAA_SWEEP_SCALE, KAA_SWEEP_CASE } = process.env;
export const seed = Number(KAA_SWEEP_SEED ?? 20261125);
const scale = KAA_SWEEP_SCALE === undefined ? undefined : Number(KAA_SWEEP_SCALE);
const onlyCase = KAA_SWEEP_CASE === undefined ? undefined : Number(KAA_SWEEP_CASE);

export interface Sweep {
  /** Part of what seeds the cases. */
  readonly name: string;
  /** Of the test, to run one case again: "test/sweeps/corruption.test.ts". */
  readonly file: string;
  readonly cases: number;
  readonly sample: number;
  /** Cases at once. */
  readonly lanes: number;
  /** @returns what did not hold; undefined when everything did. What it throws did not hold either.
   *  @param lane from 0: a place of its own for what cannot be shared. */
  run(index: number, random: Random, lane: number): Promise<string | undefined>;
}

/** The most failures that are told one by one. */
const toldFailures = 20;

/** Runs a sweep and prints its figures.
 *  @throws Error naming each case that failed and how to run it again. */
export async function sweep({ name, file, cases, sample, lanes, run }: Sweep): Promise<void> {
  const numbers = chosen(name, cases, sample);
  const project = file.includes("/real/") ? "sweeps-real" : "sweeps";
  const failures: string[] = [];
  const startedAt = performance.now();
  const step = Math.ceil((cases * (scale ?? 1)) / 40);
  let done = 0;
  const lane = async (_: unknown, at: number) => {
    // An iterator that several lanes share gives each case to one of them.
    for (const index of numbers) {
      const complaint = await run(index, new Random(name, index), at).catch(described);
      done += 1;
      if (scale !== undefined && done % step === 0) say(`${name}: ${done} done, ${failures.length} violations so far`);
      if (complaint === undefined) continue;
      const again = `KAA_SWEEP_SEED=${seed} KAA_SWEEP_CASE=${index} npx vitest run --project ${project} ${file} -t "${name}"`;
      failures.push(`case ${index}: ${complaint}\n    ${again}`);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  say(`${name}: ${done} of ${cases} cases, seed ${seed}, ${failures.length} violations, ${seconds} s`);
  if (done === 0) throw new Error(`${name}: no case ${onlyCase}; there are ${cases}`);
  if (failures.length === 0) return;
  throw new Error(`${name}: ${failures.length} of ${done}\n${failures.slice(0, toldFailures).join("\n")}`);
}

/** A line of figures that is shown even when all is well. */
export function say(line: string): void {
  process.stdout.write(`sweep ${line}\n`);
}

function* chosen(name: string, cases: number, sample: number): Generator<number, void, void> {
  const count = scale === undefined ? Math.min(sample, cases) : Math.ceil(cases * scale);
  if (onlyCase !== undefined) {
    if (onlyCase < cases) yield onlyCase;
  } else if (count >= cases) for (let index = 0; index < cases; index += 1) yield index;
  else {
    // One of each of `count` equal stretches, so that a sample meets every kind.
    const random = new Random(`${name}: sample`, 0);
    for (let nth = 0; nth < count; nth += 1) {
      const [from, to] = [Math.floor((nth * cases) / count), Math.floor(((nth + 1) * cases) / count)];
      yield from + random.below(to - from);
    }
  }
}

function described(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : `threw ${String(error)}`;
}

/** Choices of one case. mulberry32: small, seeded, good enough to scatter faults. */
export class Random {
  #state: number;

  constructor(name: string, index: number) {
    let state = Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b);
    for (const unit of Buffer.from(name)) state = Math.imul(state ^ unit, 0x01000193);
    this.#state = state;
  }

  /** 0 up to, not including, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined) throw new RangeError("nothing to choose from");
    return choice;
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}
