/** InfluxDB 2.x, and one that is neither: a scripted server's HTTP API, and a pod that answers for the scripts. */
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import type { Cluster, Command } from "../../src/cluster/cluster.ts";
import { dumpTwoScript, inspectTwoScript, restoreTwoScript } from "../../src/drivers/influxdb/scripts.ts";
import driver from "../../src/drivers/influxdb.ts";
import { tarEnd, tarHeader, tarPadding } from "../../src/drivers/tar.ts";
import { collecting } from "../fakes/dump-output.ts";
import { backupOf, contextOf, instanceOf, scriptCluster } from "../fakes/script-cluster.ts";

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

interface Influx {
  version: string;
  token: string;
  missing: string;
  readonly lists: Record<string, { id: string; name: string; orgID?: string; type?: string }[]>;
  readonly requests: string[];
}

const manifest = {
  kv: { fileName: "t.bolt.gz", size: 1 },
  sql: { fileName: "t.sqlite.gz", size: 1 },
  buckets: [{ retentionPolicies: [{ shardGroups: [{ shards: [{ id: 1, fileName: "t.1.tar.gz", size: 1 }] }] }] }],
};
function tarOf(names: readonly string[]): Buffer {
  const members = [["t.manifest", JSON.stringify(manifest)], ...names.map((name) => [name, "content"])] as const;
  const parts = members.flatMap(([name = "", text = ""]) => [
    tarHeader(name, text.length),
    Buffer.from(text),
    tarPadding(text.length),
  ]);
  return Buffer.concat([...parts, tarEnd]);
}
const whole = tarOf(["t.bolt.gz", "t.sqlite.gz", "t.1.tar.gz"]);

/** @param dumped what the pod's tools send. */
async function started(changes: Partial<Influx> = {}, dumped: Buffer = whole) {
  const influx: Influx = {
    ...{ version: "v2.7.11", token: "secret", missing: "", requests: [] },
    lists: {
      orgs: [{ id: "o1", name: "kaa" }],
      buckets: [
        { id: "b1", name: "data", orgID: "o1", type: "user" },
        { id: "b2", name: "_monitoring", orgID: "o1", type: "system" },
      ],
      users: [{ id: "u1", name: "admin" }],
      tasks: Array.from({ length: 250 }, (_, n) => ({ id: `t${n}`, name: `task ${n}` })),
      dashboards: [],
    },
    ...changes,
  };
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://influx");
    influx.requests.push(url.pathname + url.search);
    response.setHeader("x-influxdb-version", influx.version);
    if (url.pathname === "/ping") return void response.writeHead(204).end();
    if (request.headers.authorization !== `Token ${influx.token}`) return void response.writeHead(401).end("{}");
    const kind = url.pathname.split("/").at(-1) ?? "";
    const all = influx.lists[kind] ?? [];
    const after = url.searchParams.get("after");
    const from =
      after === null ? Number(url.searchParams.get("offset") ?? 0) : all.findIndex((e) => e.id === after) + 1;
    response.end(JSON.stringify({ [kind]: all.slice(from, from + Number(url.searchParams.get("limit"))) }));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const commands: Command[] = [];
  const scripts = scriptCluster((command) => {
    commands.push(command);
    if (command.script === inspectTwoScript) return `${influx.missing}kilobytes 12\n`;
    if (command.script === dumpTwoScript) return dumped;
    if (command.script === restoreTwoScript) return "";
    return (command.args ?? []).map((name) => (name === "INFLUXDB_ADMIN_USER_TOKEN" ? "secret\0" : "\0")).join("");
  });
  const { port } = server.address() as AddressInfo;
  const cluster = { ...scripts, connect: async () => connect(port, "127.0.0.1") } as Cluster;
  const context = contextOf(cluster, AbortSignal.timeout(20_000));
  return { influx, context, commands, instance: instanceOf("influxdb") };
}

const facts = { buckets: ["kaa/data"], users: ["admin"] };
const backup = { ...backupOf(facts, { "full.tar": whole.toString("latin1") }), serverVersion: "2.7.11" };

describe("InfluxDB 2.x", () => {
  test("is looked at with the token of the pod", async () => {
    const { context, instance } = await started();
    expect(await driver.inspect(instance, context)).toEqual({
      serverVersion: "2.7.11",
      estimatedBytes: 12 * 1024,
      contents: ["kaa/data"],
      warnings: [],
    });
  });

  test("is dumped by influx backup; everything is counted, over many pages", async () => {
    const { context, instance, commands, influx } = await started();
    const { stored, output } = collecting();
    const result = await driver.dump(instance, output, context);
    expect(result).toEqual({
      counts: { organizations: 1, buckets: 1, users: 1, tasks: 250, dashboards: 0 },
      warnings: [],
      facts,
    });
    expect(stored.get("full.tar")?.equals(whole)).toBe(true);
    const dump = commands.find((each) => each.script === dumpTwoScript);
    expect(dump).toMatchObject({ args: ["8086"], secrets: { INFLUX_TOKEN: "secret" } });
    expect(influx.requests).toContain("/api/v2/tasks?limit=100&after=t199");
    expect(influx.requests.join()).not.toContain("secret");
  });

  test("a backup that lacks a shard of its manifest is refused", async () => {
    const { context, instance } = await started({}, tarOf(["t.bolt.gz", "t.sqlite.gz"]));
    await expect(driver.dump(instance, collecting().output, context)).rejects.toMatchObject({
      outcome: "storage-failed",
      message: expect.stringContaining('its manifest names "t.1.tar.gz", which is not there'),
    });
  });

  test("without influx in the pod it says what is missing", async () => {
    const { context, instance } = await started({ missing: "influx\n" });
    await expect(driver.inspect(instance, context)).rejects.toMatchObject({
      outcome: "storage-not-ready",
      message: 'container "server" of pod "db-0" lacks influx',
    });
  });

  test("a refused token is an error of credentials that does not show it", async () => {
    const { context, instance } = await started({ token: "another" });
    const failed = await driver.inspect(instance, context).catch((error: unknown) => error);
    expect(failed).toMatchObject({ outcome: "credentials" });
    expect(JSON.stringify([failed, String(failed)])).not.toContain("secret");
  });

  test("the plan says what goes, what comes, and that tokens change", async () => {
    const { context, instance } = await started();
    const plan = await driver.plan(instance, { ...backup, facts: { ...facts, buckets: ["kaa/old"] } }, context);
    expect(plan).toEqual({
      drops: ["bucket kaa/data", "user admin"],
      creates: ["bucket kaa/old", "user admin"],
      keeps: [],
      warnings: ["tokens and passwords of the server will be those of the snapshot"],
      obstacles: [],
    });
  });

  test.each([
    ["2.8.0", /2.8.0, newer than the target's 2.7.11/],
    ["1.8.10", /neither reads the other's files/],
  ])("a snapshot of %s is refused", async (serverVersion, says) => {
    const { context, instance } = await started();
    const { obstacles } = await driver.plan(instance, { ...backup, serverVersion }, context);
    expect(obstacles).toEqual([expect.stringMatching(says)]);
  });

  test("is restored by influx restore --full, and counted", async () => {
    const { context, instance, commands } = await started();
    const { counts, warnings } = await driver.restore(instance, backup, context);
    expect(counts).toMatchObject({ organizations: 1, buckets: 1, tasks: 250 });
    expect(warnings).toEqual([]);
    expect(commands.find((each) => each.script === restoreTwoScript)).toMatchObject({
      args: ["8086"],
      secrets: { INFLUX_TOKEN: "secret" },
      input: { digest: backup.streams[0]?.stored, encoding: "identity" },
    });
  });

  test("when the snapshot's token is another, nothing is counted, and what to do is said", async () => {
    const { influx, context, instance } = await started();
    const scripts = context.cluster;
    const execute: Cluster["execute"] = (target, command) => {
      if (command.script === restoreTwoScript) influx.token = "the snapshot's";
      return scripts.execute(target, command);
    };
    const result = await driver.restore(instance, backup, { ...context, cluster: { ...scripts, execute } });
    expect(result).toEqual({
      counts: undefined,
      warnings: [expect.stringContaining("influxd recovery auth create-operator")],
    });
  });

  test.each([[null], [{ buckets: "kaa" }], [{ buckets: [1], users: [] }]])("a record %j is refused", async (record) => {
    const { context, instance } = await started();
    await expect(driver.plan(instance, { ...backup, facts: record }, context)).rejects.toMatchObject({
      outcome: "invalid-snapshot",
    });
  });
});

test.each([["v3.0.1"], [""]])("an InfluxDB that says %j is refused", async (version) => {
  const { context, instance } = await started({ version });
  await expect(driver.inspect(instance, context)).rejects.toMatchObject({
    outcome: "storage-not-ready",
    message: expect.stringContaining("is not supported, only 1.x and 2.x"),
  });
});
