import { expect, test } from "vitest";
import { defaultTiming, Patience, systemClock } from "../../src/stores/s3-retry.ts";
import { never } from "./conformance.ts";

test("sleeping takes as long as it says", async () => {
  const begunAt = systemClock.now();
  await systemClock.sleep(60, never);
  const tookMs = systemClock.now() - begunAt;
  expect(tookMs).toBeGreaterThan(55);
  expect(tookMs).toBeLessThan(5_000);
});

test("a signal ends sleep at once, with its reason, and nothing stays to keep the process alive", async () => {
  const stop = new AbortController();
  const sleeping = systemClock.sleep(3_600_000, stop.signal);
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const during = timers();
  stop.abort(new Error("interrupted"));
  await expect(sleeping).rejects.toThrow("interrupted");
  expect(timers()).toBeLessThan(during);
  await expect(systemClock.sleep(3_600_000, stop.signal)).rejects.toThrow("interrupted");
});

/** The pauses that a budget allows, in milliseconds. */
async function pauses(chance: number, budgetMs: number): Promise<readonly number[]> {
  const slept: number[] = [];
  let now = 0;
  const sleep = async (durationMs: number) => {
    slept.push(durationMs);
    now += durationMs;
  };
  const patience = new Patience({ now: () => now, random: () => chance, sleep }, defaultTiming, budgetMs);
  while (await patience.pause(never));
  return slept;
}

test("pauses double up to 20 s, half of each is left to chance, and their sum is within the budget", async () => {
  expect(await pauses(1, 60_000)).toEqual([300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 20_000]);
  expect(await pauses(0, 60_000)).toEqual([150, 300, 600, 1_200, 2_400, 4_800, 9_600, 10_000, 10_000, 10_000, 10_000]);
  expect(await pauses(1, 900)).toEqual([300, 600]); // to the last millisecond
  expect(await pauses(1, 899)).toEqual([300]);
});

test("a part is tried for a quarter of an hour, everything else for half a minute", () => {
  expect(defaultTiming).toMatchObject({ transferBudgetMs: 900_000, requestBudgetMs: 30_000, completeMs: 900_000 });
});
