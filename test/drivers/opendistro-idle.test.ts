/** Open Distro's driver while the engine is still at work for a run that is dead, or for somebody else. */
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import driver from "../../src/drivers/opendistro.ts";
import { closeEngines, collecting, ours, started, taken } from "../fakes/opendistro-started.ts";

afterAll(closeEngines);

describe("while the engine is at work in the repository", () => {
  const dead = "kaa-23-11-2026-01-02-03";
  afterEach(() => {
    vi.restoreAllMocks();
  });
  /** As though all waits that begin from now on were a thousand times shorter. */
  const hurry = () => {
    const real = AbortSignal.timeout.bind(AbortSignal);
    vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => real(ms / 1000));
  };

  test("a dump deletes the running snapshot of a dead run, and no other, before it registers", async () => {
    const { engine, instance, context } = await started({ snapshots: { [dead]: "IN_PROGRESS", nightly: "SUCCESS" } });
    await driver.dump(instance, collecting().output, context);
    const changes = engine.calls.filter(({ call }) => /^(PUT|DELETE) /.test(call)).map(({ call }) => call);
    const expected = [`DELETE /_snapshot/kaa-backup/${dead}`, "PUT /_snapshot/kaa-backup"];
    expect(changes).toEqual([...expected, `PUT /_snapshot/kaa-backup/${ours}`]);
    expect(engine.snapshots).toEqual({ nightly: "SUCCESS", [ours]: "SUCCESS" });
  });

  test("a snapshot of this run that still runs can be discarded", async () => {
    const { engine, instance, context } = await started({ snapshots: { [ours]: "IN_PROGRESS" } });
    await driver.discard?.(instance, undefined, context);
    expect(engine.snapshots).toEqual({});
  });

  test("a dump waits for a deletion to end, and says so once", async () => {
    const { instance, context, warned, told } = await started({ inUse: 2 });
    await driver.dump(instance, collecting().output, context);
    expect(told("PUT /_snapshot/kaa-backup")).toHaveLength(3);
    expect(warned).toEqual([expect.stringMatching(/^waiting for what Open Distro has under way in "kaa-backup"/)]);
  });

  test("a snapshot that is not ours is left alone, and the wait for it ends", async () => {
    const { engine, instance, context } = await started({ snapshots: { nightly: "IN_PROGRESS" } });
    hurry();
    const dumped = driver.dump(instance, collecting().output, context);
    const message = expect.stringMatching(/"kaa-backup" is still in use after 10 minutes/);
    await expect(dumped).rejects.toMatchObject({ outcome: "storage-not-ready", message });
    expect(engine.calls.filter(({ call }) => call.startsWith("DELETE"))).toEqual([]);
  });

  test("a restore waits for an earlier one, and deletes a running snapshot, before it deletes an index", async () => {
    const { engine, instance, context } = await started({
      ...{ snapshots: { [ours]: "SUCCESS", [dead]: "IN_PROGRESS" }, inUse: 1 },
    });
    await driver.restore(instance, taken(), context);
    const calls = engine.calls.map(({ call }) => call);
    expect(calls.filter((call) => call === "PUT /_snapshot/kaa-restore")).toHaveLength(2);
    const [stopped, deleted] = [`DELETE /_snapshot/kaa-backup/${dead}`, "DELETE /.kibana_1,events"];
    expect(calls.filter((call) => [stopped, deleted].includes(call))).toEqual([stopped, deleted]);
  });

  test("a restore ends when an earlier one does not, and has changed nothing", async () => {
    const { engine, instance, context } = await started({ snapshots: { [ours]: "SUCCESS" }, inUse: 1000 });
    hurry();
    const restored = driver.restore(instance, taken(), context);
    const message = expect.stringMatching(/"kaa-restore" is still in use/);
    await expect(restored).rejects.toMatchObject({ outcome: "storage-not-ready", message });
    expect(engine.calls.filter(({ call }) => /^(DELETE|POST \/_snapshot)/.test(call))).toEqual([]);
  });

  test.each([
    ["is deleted", [], []],
    ["stays when its name is that of a published one", ["24-11-2026-01-02-03"], [ours]],
  ])("a snapshot that the dump gives up %s", async (_, names, left) => {
    const { engine, instance, context } = await started({ endsAs: "IN_PROGRESS" });
    const interrupt = new AbortController();
    engine.onCall = (call) => {
      if (call.endsWith("/_status")) interrupt.abort(new Error("SIGTERM"));
    };
    const publishedNames = async () => new Set<string>(names);
    const given = { ...context, signal: interrupt.signal, publishedNames };
    await expect(driver.dump(instance, collecting().output, given)).rejects.toThrow(/SIGTERM|abort/i);
    expect(Object.keys(engine.snapshots)).toEqual(left);
  });
});
