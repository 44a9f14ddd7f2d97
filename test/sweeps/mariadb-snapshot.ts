/** Snapshots of a MariaDB that its driver has really made, in memory. */

import { snapshotName } from "../../src/base/snapshot-name.ts";
import { findInstances } from "../../src/drivers/find.ts";
import mariadb from "../../src/drivers/mariadb.ts";
import type { Dump } from "../../src/snapshot/writer.ts";
import { contextFor } from "../../src/storages.ts";
import { answerCluster } from "../fakes/answer-cluster.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import { scopeOf } from "../fakes/scope.ts";
import { header, type MadeFile, make, never } from "../snapshot/make.ts";

/** A dump of a database that holds this. */
export async function dumpOfMariadb(content: string): Promise<Dump> {
  const scope = scopeOf(answerCluster("mariadb", new MariadbPod(content).answer), never);
  const [instance] = findInstances(mariadb, await scope.cluster.listPods("kaa", never), "");
  if (instance === undefined) throw new Error("the MariaDB was not found");
  const context = contextFor(scope, mariadb, instance);
  const { serverVersion } = await mariadb.inspect(instance, context);
  return {
    storage: "mariadb",
    instance: instance.name,
    run: async (output, signal) => ({
      serverVersion,
      ...(await mariadb.dump(instance, output, { ...context, signal })),
    }),
  };
}

/** A snapshot of it alone. */
export async function mariadbSnapshot(content: string, startedAt: Date): Promise<MadeFile> {
  const options = { header: { ...header, name: snapshotName(startedAt) }, clock: () => startedAt };
  return await make([await dumpOfMariadb(content)], options);
}
