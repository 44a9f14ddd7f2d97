/** InfluxDB 1.x's plan of a restore, with a server that holds nothing and a pod that answers for the scripts. */
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { Cluster } from "../../src/cluster/cluster.ts";
import { inspectScript, roomScript } from "../../src/drivers/influxdb/scripts.ts";
import driver from "../../src/drivers/influxdb.ts";
import { backupOf, contextOf, instanceOf, scriptCluster } from "../fakes/script-cluster.ts";

/** @param roomKilobytes what the pod says. */
async function planned(roomKilobytes: number) {
  const server = createServer((request, response) => {
    response.setHeader("x-influxdb-version", "1.6.7");
    response.end(request.url === "/ping" ? "" : '{"results":[{"statement_id":0}]}');
  });
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const scripts = scriptCluster(({ script, args = [] }) => {
    if (script === inspectScript) return "kilobytes 12\n";
    return script === roomScript ? `${roomKilobytes}\n` : args.map(() => "\0").join("");
  });
  const { port } = server.address() as AddressInfo;
  const cluster = { ...scripts, connect: async () => connect(port, "127.0.0.1") } as Cluster;
  const backup = backupOf({ databases: [], users: [] }, { "portable.tar": "x".repeat(10_000) });
  const context = contextOf(cluster, AbortSignal.timeout(20_000));
  return await driver.plan(instanceOf("influxdb"), { ...backup, serverVersion: "1.6.7" }, context);
}

test("a backup that the pod has room for has nothing against it", async () => {
  expect((await planned(10)).obstacles).toEqual([]);
});

test("one that it has no room for is refused before anything is dropped", async () => {
  expect((await planned(9)).obstacles).toEqual(["its pod has room for 9 kB, and unpacking the backup needs 10 kB"]);
});
