/** InfluxDB, 1.x and 2.x: two engines with one name. Which one answers decides. docs/storages/influxdb.md has the details. */
import { UserError } from "../base/errors.ts";
import { chooseContainerPort, chooseTarget } from "./commands.ts";
import type { Context, Driver, Instance, RestorePlan } from "./driver.ts";
import { podAgent } from "./http.ts";
import { passwordVariable, userVariable } from "./influxdb/api.ts";
import { type Found, type Generation, versionOf } from "./influxdb/generation.ts";
import { one } from "./influxdb/one.ts";
import { two } from "./influxdb/two.ts";
import { tokenVariable } from "./influxdb/two-api.ts";

const generations: Readonly<Record<string, Generation>> = { "1": one, "2": two };
const majorOf = (version: string) => version.split(".", 1)[0] ?? "";

const driver: Driver = {
  storage: "influxdb",
  title: "InfluxDB",
  canUseDirectory: true,
  credentialVariables: [userVariable, passwordVariable, tokenVariable],
  selectors: [
    { "app.kubernetes.io/name": "influxdb" },
    { "app.kubernetes.io/name": "influxdb2" },
    { app: "influxdb" },
    { app: "influxdb2" },
  ],
  // Of Bitnami's chart: it hands writes on to the servers.
  helpers: [{ "app.kubernetes.io/component": "relay" }],
  inspect: (instance, context) => withServer(instance, context, (server) => server.as.inspect(server, context)),
  dump: (instance, output, context) =>
    withServer(instance, context, (server) => server.as.dump(server, output, context)),
  plan: (instance, backup, context) =>
    withServer(instance, context, (server) =>
      majorOf(backup.serverVersion) === majorOf(server.version)
        ? server.as.plan(server, backup, context)
        : Promise.resolve(otherGeneration(backup.serverVersion, server.version)),
    ),
  restore: (instance, backup, context) =>
    withServer(instance, context, (server) => server.as.restore(server, backup, context)),
};
export default driver;

/** Finds the pod that serves, and which InfluxDB it is.
 *  @throws UserError `storage-not-ready` for one that is neither 1.x nor 2.x. */
async function withServer<T>(
  instance: Instance,
  context: Context,
  work: (server: Found & { readonly as: Generation }) => Promise<T>,
): Promise<T> {
  const target = chooseTarget(instance, { variables: /^(DOCKER_)?INFLUX(DB|D)?_/, name: /influx/ });
  const { port } = chooseContainerPort(target.pod, { names: ["http", "api"], fallback: 8086 });
  const agent = podAgent({ cluster: context.cluster, pod: target.pod, port, tls: false }, context.signal);
  try {
    const version = await versionOf(agent, context.signal);
    const as = generations[majorOf(version)];
    if (as === undefined)
      throw new UserError(
        "storage-not-ready",
        `InfluxDB ${version || "of an unknown version"} is not supported, only 1.x and 2.x`,
      );
    return await work({ target, port, agent, version, as });
  } finally {
    agent.destroy();
  }
}

function otherGeneration(from: string, to: string): RestorePlan {
  const obstacles = [
    `the snapshot is of version ${from}, the target is ${to}: neither reads the other's files (influxd upgrade does)`,
  ];
  return { drops: [], creates: [], keeps: [], warnings: [], obstacles };
}
