/** What the earlier snapshots tell of the dumps to come. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { earlierSnapshots, lastDumps } from "../src/expectation.ts";
import { scopeOf } from "./fakes/scope.ts";
import { header } from "./snapshot/make.ts";
import { daily, snapshotAt, type Wanted, writeTo } from "./snapshots.ts";
import { never } from "./stores/conformance.ts";
import { directoryUnderTest } from "./stores/places.ts";

const scope = { ...scopeOf({}, never), namespace: header.namespace };
const [postgresql, mongodb] = ["postgresql/kaa-postgresql", "mongodb/kaa-mongodb"];
const instances = [postgresql, mongodb].map((task) => {
  const [storage = "", name = ""] = task.split("/");
  return { storage, name } as Parameters<typeof lastDumps>[1][number];
});

let place: Awaited<ReturnType<typeof directoryUnderTest>>;
beforeEach(async () => {
  place = await directoryUnderTest();
});
afterEach(() => place.dispose());

/** The oldest holds both storages, `newer` ones hold what is said. */
async function look(newer: number, wanted: Wanted) {
  const [oldest = new Date(), ...dates] = daily(newer + 1, new Date("2026-11-24T03:00:00Z"));
  writeTo(place.path, await snapshotAt(oldest, { holds: [postgresql, mongodb] }));
  writeTo(place.path, ...(await Promise.all(dates.map((date) => snapshotAt(date, wanted)))));
  return await lastDumps(await earlierSnapshots(place.store, scope), instances, place.store, scope);
}

describe("the last dump of a storage that the newer snapshots do not hold", () => {
  test("is found behind a hundred of them", async () => {
    const { dumps, isSure } = await look(100, { holds: [postgresql] });
    expect([...dumps.keys()].sort()).toEqual([mongodb, postgresql]);
    expect(isSure).toBe(true);
  });

  test("is not looked for behind more than two hundred, and then nobody says that all is well", async () => {
    const { dumps, isSure } = await look(210, { holds: [postgresql] });
    expect([...dumps.keys()]).toEqual([postgresql]);
    expect(isSure).toBe(false);
  });

  test("is found behind any number of another namespace's", async () => {
    const { dumps, isSure } = await look(45, { namespace: "another" });
    expect([...dumps.keys()].sort()).toEqual([mongodb, postgresql]);
    expect(isSure).toBe(true);
  });
});

test("a storage that no snapshot holds is nothing to be unsure of", async () => {
  const { dumps, isSure } = await look(3, { namespace: "another" });
  expect(dumps.size).toBe(2);
  expect(isSure).toBe(true);
  const empty = await lastDumps([], instances, place.store, scope);
  expect(empty).toMatchObject({ isSure: true, complete: [] });
});
