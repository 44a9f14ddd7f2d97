/** Which snapshots Open Distro's driver lets be restored, by the versions of the engines. */
import { afterAll, describe, expect, test } from "vitest";
import driver from "../../src/drivers/opendistro.ts";
import type { Engine } from "../fakes/opendistro.ts";
import { closeEngines, collecting, ours, started, taken } from "../fakes/opendistro-started.ts";

afterAll(closeEngines);

describe("versions", () => {
  const elasticsearch = (number: string): Partial<Engine> => ({ version: { number }, nodeVersion: number });
  const openSearch = (number: string): Partial<Engine> => ({
    ...{ version: { number, distribution: "opensearch" }, nodeVersion: number },
  });
  const planned = async (target: Partial<Engine>, serverVersion: string, more: Parameters<typeof taken>[0] = {}) => {
    const { instance, context } = await started(target);
    const { obstacles } = await driver.plan(instance, { ...taken(more), serverVersion }, context);
    return obstacles.join("; ");
  };

  test.each([
    ["7.10.2", elasticsearch("7.10.2")],
    ["7.9.1", elasticsearch("7.10.2")],
    ["6.8.0", elasticsearch("7.10.2")],
    ["7.17.0", elasticsearch("8.1.0")],
    ["6.8.0", openSearch("1.3.2")],
    ["7.10.2", openSearch("1.3.2")],
    ["7.12.0", openSearch("1.0.0")],
    ["7.10.2", openSearch("2.19.1")],
    ["1.3.2", openSearch("1.3.2")],
    ["1.3.2", openSearch("2.0.0")],
    ["2.19.1", openSearch("3.8.0")],
    ["3.8.0", openSearch("3.10.0")],
  ])("a snapshot of %s can be restored into %o", async (serverVersion, target) => {
    expect(await planned(target, serverVersion)).toBe("");
  });

  test.each([
    ["7.17.0", elasticsearch("7.10.2"), /newer than the target's 7\.10\.2/],
    ["7.10.2", elasticsearch("7.10.1"), /newer than the target's 7\.10\.1/],
    ["8.1.0", elasticsearch("7.10.2"), /newer/],
    ["5.6.0", elasticsearch("7.10.2"), /too old for the target's Elasticsearch 7\.10\.2/],
    ["3.10.0", openSearch("3.8.0"), /newer than the target's 3\.8\.0/],
    ["2.0.0", openSearch("1.3.2"), /newer/],
    ["1.3.2", openSearch("3.8.0"), /too old for the target's OpenSearch 3\.8\.0/],
    ["7.10.2", openSearch("3.8.0"), /too old/],
    ["6.8.0", openSearch("2.0.0"), /too old/],
    ["7.13.0", openSearch("2.0.0"), /reads Elasticsearch's up to 7\.12/],
    ["8.1.0", openSearch("2.0.0"), /reads Elasticsearch's up to 7\.12/],
    ["1.3.2", elasticsearch("7.10.2"), /Elasticsearch and Open Distro cannot read/],
    ["2.19.1", elasticsearch("8.1.0"), /Elasticsearch and Open Distro cannot read/],
    ["unknown", elasticsearch("7.10.2"), /a version is not known/],
  ])("a snapshot of %s cannot be restored into %o", async (serverVersion, target, says) => {
    expect(await planned(target, serverVersion)).toMatch(says);
  });

  test("are those of the record, for OpenSearch may call itself 7.10.2", async () => {
    const target = { ...openSearch("7.10.2"), nodeVersion: "2.11.0" };
    expect(await planned(target, "7.10.2", { engine: { distribution: "opensearch", version: "2.9.0" } })).toBe("");
    expect(await planned(target, "7.10.2", { engine: { distribution: "opensearch", version: "2.12.0" } })).toMatch(
      /newer/,
    );
  });

  test("of the oldest index count too: an upgrade of the cluster does not change it", async () => {
    const oldest = { index: "events", distribution: "opensearch", version: "1.3.2" };
    const engine = { distribution: "opensearch", version: "2.19.1" };
    const says = await planned(openSearch("3.8.0"), "2.19.1", { engine, oldest });
    expect(says).toMatch(/index "events" was made by OpenSearch 1\.3\.2, too old/);
    expect(await planned(openSearch("2.19.1"), "2.19.1", { engine, oldest })).toBe("");
  });

  test("are recorded by a dump", async () => {
    const created = { events: "136217827", ".kibana_1": "7100299", ".opendistro_security": "6080099" };
    const { instance, context } = await started({ ...openSearch("2.19.1"), created, snapshotVersion: "2.19.0" });
    const { facts: recorded } = await driver.dump(instance, collecting().output, context);
    expect(recorded).toMatchObject({
      engine: { distribution: "opensearch", version: "2.19.0" },
      oldest: { index: ".kibana_1", distribution: "elasticsearch", version: "7.10.2" },
    });
  });

  test("that the manifest does not tell are seen in the repository, before an index is deleted", async () => {
    const { engine, instance, context } = await started({
      snapshots: { [ours]: "SUCCESS" },
      snapshotVersion: "7.10.3",
    });
    const error: unknown = await driver.restore(instance, taken(), context).catch((each: unknown) => each);
    expect(error).toMatchObject({ outcome: "refused", effect: "Open Distro was not changed" });
    expect(engine.indices).toEqual([".kibana_1", "events"]);
    expect(engine.calls.filter(({ call }) => /^DELETE \/[^_]/.test(call))).toEqual([]);
  });

  test("of a damaged record are refused", async () => {
    await expect(planned({}, "7.10.2", { engine: "7.10.2" })).rejects.toMatchObject({ outcome: "invalid-snapshot" });
  });
});
