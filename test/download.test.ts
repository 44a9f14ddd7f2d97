/** A copy that cannot be proved. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import { findSnapshots } from "../src/catalog.ts";
import { download } from "../src/download.ts";
import type { Store } from "../src/stores/store.ts";
import { silentReporter } from "./fakes/reporter.ts";
import { snapshotAt, writeTo } from "./snapshots.ts";
import { listed, never } from "./stores/conformance.ts";
import { directoryUnderTest } from "./stores/places.ts";

type Place = Awaited<ReturnType<typeof directoryUnderTest>>;
let source: Place;
let target: Place;
let fileName: string;
beforeEach(async () => {
  [source, target] = [await directoryUnderTest(), await directoryUnderTest()];
  const made = await snapshotAt(new Date("2026-11-24T03:00:00Z"));
  ({ fileName } = made);
  writeTo(source.path, made);
});
afterEach(async () => {
  await source.dispose();
  await target.dispose();
});

/** @param remove of the target, whose file cannot be read. */
async function attempt(remove?: Store["remove"]): Promise<UserError> {
  const broken: Store = {
    ...target.store,
    open: async () => {
      throw new UserError("invalid-snapshot", "damaged on its way");
    },
    ...(remove !== undefined && { remove }),
  };
  const [entry] = await findSnapshots(source.store, [fileName], never);
  if (entry === undefined) throw new Error("no snapshot");
  const told = { reporter: silentReporter, signal: never };
  return await download(entry, { source: source.store, target: broken }, told).then(
    () => expect.unreachable(),
    (error) => error,
  );
}

const left = async () => (await listed(target.store)).map((each) => each.fileName);

test("is removed, and why is told", async () => {
  const error = await attempt();
  expect(error).toMatchObject({ outcome: "invalid-snapshot", message: "damaged on its way" });
  expect(error.effect).toContain("nothing was left");
  expect(await left()).toEqual([]);
});

test("that cannot be removed either is named", async () => {
  const error = await attempt(() => Promise.reject(new UserError("local-disk", "the disk is gone")));
  expect(error.outcome).toBe("leftovers");
  expect(error.message).toMatch(/^damaged on its way; .*not proved.*: the disk is gone$/);
  expect(error.hints).toEqual([expect.stringContaining(fileName)]);
  expect(await left()).toEqual([fileName]);
});

test("that has gone by itself is nothing that is left", async () => {
  const error = await attempt(() => Promise.reject(new UserError("not-found", "no such file")));
  expect(error).toMatchObject({ outcome: "invalid-snapshot" });
});
