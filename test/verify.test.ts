/** `verify --all`, where one file after the other cannot be read. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import type { Store } from "../src/stores/store.ts";
import { verifyAll } from "../src/verify.ts";
import { silentReporter } from "./fakes/reporter.ts";
import { daily, snapshotAt, writeTo } from "./snapshots.ts";
import { never } from "./stores/conformance.ts";
import { directoryUnderTest } from "./stores/places.ts";

let place: Awaited<ReturnType<typeof directoryUnderTest>>;
let fileNames: readonly string[] = []; // newest first
beforeEach(async () => {
  place = await directoryUnderTest();
  const made = await Promise.all(daily(4, new Date("2026-11-24T03:00:00Z")).map((date) => snapshotAt(date)));
  writeTo(place.path, ...made);
  fileNames = made.map(({ fileName }) => fileName).reverse();
});
afterEach(() => place.dispose());

const told = { reporter: silentReporter, signal: never };
const verdicts = async (store: Store) =>
  (await verifyAll(store, told)).map(({ fileName, problem }) => [fileNames.indexOf(fileName), problem?.outcome]);

/** The store, of which opening one file does something else. */
function opening(nth: number, instead: () => Promise<never>): Store {
  const { store } = place;
  return {
    ...store,
    open: (fileName, signal) => (fileName === fileNames[nth] ? instead() : store.open(fileName, signal)),
  };
}

test("all are whole", async () => {
  expect(await verdicts(place.store)).toEqual([0, 1, 2, 3].map((nth) => [nth, undefined]));
});

test.each(["local-disk", "credentials", "object-store"] as const)(
  "one that cannot be read (%s) has that for its verdict, and the others have theirs",
  async (outcome) => {
    const fail = async () => {
      throw new UserError(outcome, "it cannot be read");
    };
    expect(await verdicts(opening(1, fail))).toEqual([
      [0, undefined],
      [1, outcome],
      [2, undefined],
      [3, undefined],
    ]);
  },
);

test("one that is removed while it is read is left out, whatever the reading says", async () => {
  const vanish = async () => {
    await place.store.remove(`${fileNames[2]}`, never);
    throw new UserError("object-store", "it was changed or removed while being read");
  };
  expect(await verdicts(opening(2, vanish))).toEqual([0, 1, 3].map((nth) => [nth, undefined]));
});

test("a store that cannot be listed any more ends it", async () => {
  const down = new UserError("object-store", "no answer");
  let lists = 0;
  const store: Store = {
    ...opening(1, () => Promise.reject(down)),
    async *list(signal) {
      if (++lists > 1) throw down;
      yield* place.store.list(signal);
    },
  };
  await expect(verifyAll(store, told)).rejects.toBe(down);
});

test("a defect is no verdict", async () => {
  await expect(
    verifyAll(
      opening(1, () => Promise.reject(new TypeError("a defect"))),
      told,
    ),
  ).rejects.toThrow(TypeError);
});
