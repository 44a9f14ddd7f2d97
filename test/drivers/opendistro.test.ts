/** The Open Distro driver against a scripted engine in this process, which answers as Elasticsearch 7.10 of Open Distro
 *  1.13 is documented to: what cannot run on the bed. */
import { afterAll, describe, expect, test } from "vitest";
import driver from "../../src/drivers/opendistro.ts";
import { closeEngines, collecting, facts, ours, started, taken } from "../fakes/opendistro-started.ts";
import { backupOf } from "../fakes/script-cluster.ts";

afterAll(closeEngines);

describe("what keeps Open Distro from being backed up", () => {
  test("a missing plugin is named, with what to install and where", async () => {
    const { instance, context } = await started({ plugins: ["opendistro_sql"] });
    const error: unknown = await driver.inspect(instance, context).catch((each: unknown) => each);
    expect(error).toMatchObject({ outcome: "storage-not-ready", message: expect.stringMatching(/es-data-0/) });
    expect(JSON.stringify(error)).toMatch(/install --batch repository-s3/);
  });

  test("a wrong password is named and not told", async () => {
    const { instance, context } = await started({}, { OPENDISTRO_PASSWORD: "wrong-one" });
    const error: unknown = await driver.inspect(instance, context).catch((each: unknown) => each);
    expect(error).toMatchObject({ outcome: "credentials" });
    expect(JSON.stringify(error) + String(error)).not.toMatch(/wrong-one/);
  });

  test.each([
    ["cannot read its keystore", { nodes: { a: { name: "n1", reload_exception: { reason: "no password" } } } }, /"n1"/],
    ["does not answer", { _nodes: { total: 2, successful: 1, failed: 1 }, nodes: {} }, /1 nodes did not answer/],
  ])("a node that %s ends the dump before a snapshot is begun", async (_, reload, says) => {
    const { engine, instance, context } = await started({ reload });
    const dumped = driver.dump(instance, collecting().output, context);
    await expect(dumped).rejects.toMatchObject({ outcome: "storage-not-ready", message: expect.stringMatching(says) });
    expect(engine.snapshots).toEqual({});
  });

  test("a directory is refused", async () => {
    const { instance, context } = await started();
    const dumped = driver.dump(instance, collecting().output, { ...context, location: { region: "x" } });
    await expect(dumped).rejects.toMatchObject({ outcome: "usage" });
    expect(driver.canUseDirectory).toBe(false);
  });
});

describe("dump", () => {
  test("takes a snapshot of all but the security index, and keeps beside it what belongs to no index", async () => {
    const scripts = { "s/1": { lang: "painless", source: "1" } };
    const { instance, context, told } = await started({ scripts, templates: { logs: { order: 1 }, ".own": {} } });
    const done: number[] = [];
    const { stored, output } = collecting();
    const result = await driver.dump(instance, output, { ...context, progress: (bytes) => done.push(bytes) });
    expect(told(`PUT /_snapshot/kaa-backup/${ours}`)).toMatchObject([
      {
        indices: expect.stringMatching(/^\*,-\.opendistro_security/),
        include_global_state: false,
        partial: false,
      },
    ]);
    expect(done).toContain(4096);
    const global = JSON.parse(stored.get("global.json") ?? "");
    expect(global).toMatchObject({ templates: { logs: { order: 1 } }, scripts: { "s/1": { script: scripts["s/1"] } } });
    expect(global.templates).not.toHaveProperty([".own"]);
    expect(result).toMatchObject({
      counts: { indices: 2, documents: 4, aliases: 1 },
      facts: { ...facts, state: "SUCCESS" },
    });
  });

  test("gives the keys to master and data nodes by stdin, and to none of the clients", async () => {
    const { instance, context, commands, told } = await started();
    await driver.dump(instance, collecting().output, context);
    expect(commands).toHaveLength(2);
    for (const { script, args, secrets } of commands) {
      expect(secrets).toEqual({ KAA_ACCESS_KEY: "id", KAA_SECRET_KEY: "key", KAA_SESSION_TOKEN: "" });
      expect(args).toEqual(["kaa_backup"]);
      expect(script).toMatch(/add --stdin --force/);
    }
    expect(told("POST /_nodes/reload_secure_settings")).toHaveLength(1);
    expect(JSON.stringify(told("PUT /_snapshot/kaa-backup"))).not.toMatch(/"key"|"id"/);
  });

  test.each([
    [undefined, { endpoint: "outside:9000", protocol: "http" }],
    ["https://inside", { endpoint: "inside", protocol: "https" }],
  ])("tells the nodes the endpoint %s", async (url, expected) => {
    const { instance, context, told } = await started({}, url === undefined ? {} : { OPENDISTRO_S3_ENDPOINT: url });
    await driver.dump(instance, collecting().output, context);
    const [{ settings }] = told("PUT /_snapshot/kaa-backup") as [{ settings: object }];
    expect(settings).toMatchObject({
      ...expected,
      bucket: "snapshots",
      base_path: facts.basePath,
      path_style_access: true,
    });
    expect(settings).not.toHaveProperty("server_side_encryption_type"); // Elasticsearch 7 does not know it
  });

  test.each(["PARTIAL", "FAILED", "INCOMPATIBLE"])("does not take %s for a snapshot", async (endsAs) => {
    const { instance, context } = await started({ endsAs });
    const { stored, output } = collecting();
    const dumped = driver.dump(instance, output, context);
    await expect(dumped).rejects.toMatchObject({ outcome: "storage-failed", message: expect.stringContaining(endsAs) });
    expect([...stored.keys()]).toEqual([]);
  });

  test("takes closed indices too, and a restore closes them again", async () => {
    const indices = [".kibana_1", "events", "old"];
    const { engine, instance, context, told } = await started({ indices, closed: ["old"] });
    const { stored, output } = collecting();
    const dumped = await driver.dump(instance, output, context);
    expect(dumped).toMatchObject({ counts: { indices: 3, documents: 4 }, facts: { indices, closed: ["old"] } });
    Object.assign(engine, { indices: ["later"], closed: [], restoring: 1 });
    const backup = backupOf(dumped.facts, { "global.json": stored.get("global.json") ?? "" });
    const restored = await driver.restore(instance, { ...backup, serverVersion: "7.10.2" }, context);
    expect(engine.indices).toEqual(indices);
    expect(told("POST /old/_close")).toHaveLength(2);
    expect(restored).toEqual({ counts: dumped.counts, warnings: [] });
  });

  test("what the engine does not let be closed again is told", async () => {
    const { engine, instance, context } = await started({ snapshots: { [ours]: "SUCCESS" } });
    engine.refusesToClose = true;
    const { warnings } = await driver.restore(instance, taken({ closed: ["events"] }), context);
    expect(warnings).toEqual([expect.stringMatching(/^index "events" was closed and is open now: .*is not enabled/)]);
  });

  test("fails when an index that was there all the time is not in the engine's snapshot", async () => {
    const { instance, context } = await started({ indices: [".kibana_1", "events", "odd"], passedOver: ["odd"] });
    const { stored, output } = collecting();
    const dumped = driver.dump(instance, output, context);
    await expect(dumped).rejects.toMatchObject({ outcome: "storage-failed", message: expect.stringMatching(/: odd$/) });
    expect(stored.size).toBe(0);
  });

  test("does not miss an index that is made or deleted meanwhile", async () => {
    const { engine, instance, context } = await started({ indices: [".kibana_1", "events", "gone"] });
    engine.onCall = (call) => {
      if (call === "GET /_template") engine.indices = [".kibana_1", "events"];
      if (call.endsWith("/_status")) engine.indices = [".kibana_1", "events", "new"];
    };
    const dumped = await driver.dump(instance, collecting().output, context);
    expect(dumped).toMatchObject({ facts: { indices: [".kibana_1", "events"] } });
  });

  test("deletes what killed runs left, and nothing that is published or not ours", async () => {
    const snapshots = { "kaa-01-01-2026-00-00-00": "SUCCESS", "kaa-02-01-2026-00-00-00": "FAILED", nightly: "SUCCESS" };
    const { engine, instance, context } = await started({ snapshots: { ...snapshots } });
    const publishedNames = async () => new Set(["01-01-2026-00-00-00"]);
    await driver.dump(instance, collecting().output, { ...context, publishedNames });
    expect(Object.keys(engine.snapshots).sort()).toEqual(["kaa-01-01-2026-00-00-00", ours, "nightly"].sort());
  });
});

describe("discard", () => {
  test("deletes the snapshot from the bucket that is meant, whichever was registered", async () => {
    const { engine, instance, context, told } = await started({ snapshots: { [ours]: "SUCCESS", nightly: "SUCCESS" } });
    await driver.discard?.(instance, undefined, context);
    expect(told("PUT /_snapshot/kaa-backup")).toMatchObject([{ settings: { bucket: "snapshots" } }]);
    expect(Object.keys(engine.snapshots)).toEqual(["nightly"]);
  });

  test("of what is not there is no error", async () => {
    const { instance, context } = await started();
    await expect(driver.discard?.(instance, undefined, context)).resolves.toBeUndefined();
  });
});

describe("restore", () => {
  test("registers the source's folder read-only, deletes all but the security index, and restores with aliases", async () => {
    const { engine, instance, context, told } = await started({
      ...{ snapshots: { [ours]: "SUCCESS" }, indices: ["events", "later", ".ds-l-1"], streams: ["l"] },
      templates: { later: {} },
    });
    const global = {
      templates: { "a b": { order: 3 } },
      scripts: { s: { script: { lang: "painless", source: "1" } } },
    };
    const result = await driver.restore(instance, taken({ basePath: "opendistro/production-kaa/es" }, global), context);
    expect(result).toEqual({ counts: { indices: 2, documents: 4, aliases: 1 }, warnings: [] });
    expect(told("PUT /_snapshot/kaa-restore")).toMatchObject([
      { settings: { readonly: true, base_path: "opendistro/production-kaa/es" } },
    ]);
    expect(engine.streams).toEqual([]);
    expect(told("DELETE /.ds-l-1,events,later")).toHaveLength(1);
    expect(told("DELETE /_template/later")).toHaveLength(1);
    expect(told("PUT /_template/a%20b")).toEqual([{ order: 3 }]);
    expect(told("PUT /_scripts/s")).toEqual([{ script: { lang: "painless", source: "1" } }]);
    const asked = { include_global_state: false, include_aliases: true, partial: false };
    expect(told(`POST /_snapshot/kaa-restore/${ours}/_restore`)).toMatchObject([asked]);
    expect(told("DELETE /_snapshot/kaa-restore")).toHaveLength(1);
    expect(engine.calls.filter(({ call }) => /^DELETE .*security/.test(call))).toEqual([]);
  });

  test.each([
    ["is gone", {}, {}, /is not there/],
    ["is PARTIAL", { [ours]: "PARTIAL" }, {}, /is PARTIAL/],
    ["lacks an index", { [ours]: "SUCCESS" }, { indices: ["events", "other"] }, /lacks other/],
  ])("from a snapshot that %s changes nothing and forgets the repository", async (_, snapshots, changes, says) => {
    const { engine, instance, context, told } = await started({ snapshots });
    const error: unknown = await driver.restore(instance, taken(changes), context).catch((each: unknown) => each);
    expect(error).toMatchObject({ outcome: "invalid-snapshot", message: expect.stringMatching(says) });
    expect(error).toMatchObject({ effect: "Open Distro was not changed" });
    expect(engine.calls.filter(({ call }) => /^DELETE/.test(call)).map(({ call }) => call)).toEqual([
      "DELETE /_snapshot/kaa-restore",
    ]);
    expect(told("DELETE /_snapshot/kaa-restore")).toHaveLength(1);
  });

  test("that is interrupted while shards are restored forgets the repository all the same", async () => {
    const { instance, context, told } = await started({ snapshots: { [ours]: "SUCCESS" }, health: "red" });
    const interrupt = new AbortController();
    const restored = driver.restore(instance, taken(), { ...context, signal: interrupt.signal });
    const failed = restored.catch((each: unknown) => each);
    while (told(`POST /_snapshot/kaa-restore/${ours}/_restore`).length === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
    interrupt.abort(new Error("Ctrl-C"));
    expect(String(await failed)).toMatch(/Ctrl-C|abort/i);
    expect(told("DELETE /_snapshot/kaa-restore")).toHaveLength(1);
  });

  test.each([
    ["a path for a snapshot", { snapshot: "../_all" }],
    ["a folder that leaves ours", { basePath: "opendistro/../elsewhere" }],
    ["another folder", { basePath: "elsewhere" }],
    ["an index that means all", { indices: ["*"] }],
    ["an index that means several", { indices: ["a,b"] }],
    ["an index that excludes", { indices: ["-a"] }],
    ["no indices", { indices: "events" }],
    ["a closed index that means all", { closed: ["*"] }],
  ])("refuses a manifest with %s, before it asks the engine", async (_, changes) => {
    const { engine, instance, context } = await started();
    const restored = driver.restore(instance, taken(changes), context);
    await expect(restored).rejects.toMatchObject({ outcome: "invalid-snapshot" });
    expect(engine.calls).toEqual([]);
  });
});

describe("plan", () => {
  test("tells what goes, what comes and what stays", async () => {
    const { instance, context } = await started({ indices: ["events", "later"] });
    const plan = await driver.plan(instance, taken(), context);
    expect(plan).toMatchObject({ drops: ["index events", "index later"], obstacles: [] });
    expect(plan.creates).toEqual(["index .kibana_1", "index events"]);
    expect(plan.keeps.join()).toMatch(/security/);
  });
});
