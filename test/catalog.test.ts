/** Which file is meant: by a date, and by a file's name. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeSnapshots, findSnapshots, withSnapshot } from "../src/catalog.ts";
import { remove } from "../src/remove.ts";
import { silentReporter } from "./fakes/reporter.ts";
import { snapshotAt, writeTo } from "./snapshots.ts";
import { directoryUnderTest } from "./stores/places.ts";

const name = "12-02-2021-15-28-37";
const startedAt = new Date("2021-02-12T15:28:37Z");
const [complete, partial] = [`${name}.tar.gz`, `${name}.partial.tar.gz`];
const { signal } = new AbortController();

let place: Awaited<ReturnType<typeof directoryUnderTest>>;
beforeEach(async () => {
  place = await directoryUnderTest();
});
afterEach(() => place.dispose());

async function plant(which: "complete" | "partial") {
  writeTo(place.path, await snapshotAt(startedAt, which === "partial" ? { lacks: ["mariadb/kaa-mariadb"] } : {}));
}

const found = async (...dates: readonly string[]) =>
  (await findSnapshots(place.store, dates, signal)).map(({ fileName }) => fileName);

test("a date means its complete snapshot, else its partial one", async () => {
  await plant("partial");
  expect(await found(name)).toEqual([partial]);
  await plant("complete");
  expect(await found(name)).toEqual([complete]);
});

test("a file's name means that file, whatever else there is of its date", async () => {
  await plant("partial");
  await plant("complete");
  expect(await found(partial)).toEqual([partial]);
  expect(await found(complete)).toEqual([complete]);
  const shown = await withSnapshot(place.store, partial, signal, async ({ manifest }) => manifest.failures.length);
  expect(shown).toBe(1);
});

test.each([
  ["partial", complete, partial],
  ["complete", partial, complete],
] as const)(
  "when only the %s one is there, the other's name is not found, and it is said what is there",
  async (which, asked, there) => {
    await plant(which);
    await expect(found(asked)).rejects.toMatchObject({
      outcome: "not-found",
      message: `there is no ${asked} in ${place.store.location}`,
      hints: [`there is ${there}`],
    });
  },
);

test("one that is named several ways comes once, and both of a date come when both are named", async () => {
  await plant("partial");
  await plant("complete");
  expect(await found(name, complete, name)).toEqual([complete]);
  expect(await found(complete, partial)).toEqual([complete, partial]);
});

test("a partial snapshot is removed by its file's name, and the complete one of that date stays", async () => {
  await plant("partial");
  await plant("complete");
  const scope = { namespace: undefined, cluster: undefined, reporter: silentReporter, signal };
  await remove([partial], scope, place.store, async () => {});
  expect(await found(name)).toEqual([complete]);
  await expect(found(partial)).rejects.toMatchObject({ outcome: "not-found" });
});

test("of a table of contents all is kept but the places of segments, which are most of it", async () => {
  await plant("complete");
  const entries = await findSnapshots(place.store, [name], signal);
  const [described] = await describeSnapshots(place.store, entries, signal);
  expect(described?.manifest?.instances[0]?.streams[0]).toMatchObject({
    name: expect.any(String),
    stored: { bytes: expect.any(Number) },
  });
  expect(JSON.stringify(described?.manifest)).not.toMatch(/"segments"|"offset"/);
});
