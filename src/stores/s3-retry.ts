/** Waiting and trying again. */
import { orAborted } from "./store.ts";

/** Time and chance, as tests replace them. */
export interface Clock {
  now(): number;
  /** @throws the signal's reason as soon as that fires. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>;
  /** From 0 up to, not including, 1. */
  random(): number;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  random: Math.random,
  async sleep(durationMs, signal) {
    let timer: NodeJS.Timeout | undefined;
    try {
      await orAborted(signal, () => new Promise<void>((resolve) => (timer = setTimeout(resolve, durationMs))));
    } finally {
      clearTimeout(timer);
    }
  },
};

export interface Timing {
  /** How long a part, the completion of an upload, or a read that brings nothing is tried again. */
  readonly transferBudgetMs: number;
  /** How long any other request is tried again. */
  readonly requestBudgetMs: number;
  /** A connection without a byte for so long counts as dead. */
  readonly idleMs: number;
  readonly connectMs: number;
  /** How long the store may work on the completion of an upload. AWS keeps that connection alive with white space. */
  readonly completeMs: number;
  /** Pause before the second attempt; doubled each time up to `longestPauseMs`, then half of it left to chance. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** Bound of the cleaning up after a failure, which no signal interrupts. */
  readonly cleanupMs: number;
}

export const defaultTiming: Timing = {
  transferBudgetMs: 15 * 60_000,
  requestBudgetMs: 30_000,
  idleMs: 60_000,
  connectMs: 10_000,
  completeMs: 15 * 60_000,
  firstPauseMs: 300,
  longestPauseMs: 20_000,
  cleanupMs: 15_000,
};

/** Pauses that grow, until a budget of time is used up. */
export class Patience {
  readonly #clock: Clock;
  readonly #timing: Pick<Timing, "firstPauseMs" | "longestPauseMs">;
  readonly #budgetMs: number;
  #endsAt: number;
  #attempts = 0;

  constructor(clock: Clock, timing: Pick<Timing, "firstPauseMs" | "longestPauseMs">, budgetMs: number) {
    this.#clock = clock;
    this.#timing = timing;
    this.#budgetMs = budgetMs;
    this.#endsAt = clock.now() + budgetMs;
  }

  /** Something went well: the budget begins anew. */
  renew(): void {
    this.#endsAt = this.#clock.now() + this.#budgetMs;
    this.#attempts = 0;
  }

  /** Waits before the next attempt.
   *  @returns false at once when that would exceed the budget. */
  async pause(signal: AbortSignal): Promise<boolean> {
    const { firstPauseMs, longestPauseMs } = this.#timing;
    const fullMs = Math.min(longestPauseMs, firstPauseMs * 2 ** this.#attempts++);
    const pauseMs = fullMs / 2 + (fullMs / 2) * this.#clock.random();
    if (this.#clock.now() + pauseMs > this.#endsAt) return false;
    await this.#clock.sleep(pauseMs, signal);
    return true;
  }
}
