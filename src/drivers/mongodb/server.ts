/** The server in the pods of an instance: finds the primary, logs in, and tells what it holds. */
import type { Document } from "bson";
import { UserError } from "../../base/errors.ts";
import { workMs } from "../../base/stall.ts";
import type { Pod, Target } from "../../cluster/cluster.ts";
import { chooseContainerPort, chooseTarget, readEnvironment } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { type Login, WireClient } from "./wire.ts";

export const userVariable = "MONGODB_ROOT_USER";
export const passwordVariable = "MONGODB_ROOT_PASSWORD";

export interface Server {
  readonly target: Target;
  readonly port: number;
  readonly login: Login | undefined;
  readonly client: WireClient;
  readonly version: string;
  /** Name of the replica set; undefined for a standalone server. */
  readonly replicaSet: string | undefined;
}

/** Databases that MongoDB keeps for itself. */
const ownDatabases = ["admin", "config", "local"];

/** Runs `work` with the server that may be written to.
 *  @throws UserError `credentials`; `storage-not-ready` when there is none, or the cluster is sharded. */
export async function withPrimary<T>(
  instance: Instance,
  context: Context,
  work: (server: Server) => Promise<T>,
): Promise<T> {
  const ready = instance.pods.filter((pod) => pod.ready);
  if (ready.length === 0) chooseTarget(instance, { variables: /^MONGO/, name: /mongo/ }); // says what is wrong
  for (const pod of ready) {
    const found = await connect(pod, instance, context);
    try {
      if (found !== undefined) return await work(found);
    } finally {
      found?.client.close();
    }
  }
  const names = ready.map((pod) => pod.name).join(", ");
  throw new UserError("storage-not-ready", `none of ${names} is a primary: an election may be going on`);
}

async function connect(pod: Pod, instance: Instance, context: Context): Promise<Server | undefined> {
  const target = chooseTarget({ ...instance, pods: [pod] }, { variables: /^MONGO/, name: /mongo/ });
  const { port } = chooseContainerPort(pod, { names: ["mongodb", "mongo"], fallback: 27017 });
  const login = await loginOf(target, context);
  const client = new WireClient(await context.cluster.connect(pod, port, context.signal));
  try {
    const hello = await client.command("admin", { hello: 1 }).catch(() => client.command("admin", { isMaster: 1 }));
    if (hello["msg"] === "isdbgrid") {
      throw new UserError("storage-not-ready", "MongoDB is sharded: mongodump cannot make a consistent dump of it", {
        hints: ["Percona Backup for MongoDB can; leave MongoDB out here: name the other storages with --storage"],
      });
    }
    if ((hello["isWritablePrimary"] ?? hello["ismaster"]) !== true) {
      client.close();
      return undefined;
    }
    if (login !== undefined) await client.logIn(login);
    const { version } = await client.command("admin", { buildInfo: 1 });
    const replicaSet = typeof hello["setName"] === "string" ? hello["setName"] : undefined;
    return { target, port, login, client, version: String(version), replicaSet };
  } catch (error) {
    client.close();
    throw error;
  }
}

async function loginOf(target: Target, context: Context): Promise<Login | undefined> {
  const names = [userVariable, passwordVariable, "MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD"] as const;
  const inPod = await readEnvironment(context, target, names);
  const password =
    context.credentials[passwordVariable] ?? inPod[passwordVariable] ?? inPod["MONGO_INITDB_ROOT_PASSWORD"];
  const user = context.credentials[userVariable] ?? inPod[userVariable] ?? inPod["MONGO_INITDB_ROOT_USERNAME"];
  return password === undefined ? undefined : { user: user ?? "root", password };
}

export interface Holdings {
  /** Names of the databases that are not MongoDB's own. */
  readonly databases: readonly string[];
  readonly bytes: number;
  readonly counts: Readonly<Record<string, number>>;
}

export async function holdingsOf({ client }: Server): Promise<Holdings> {
  const listed = (await client.command("admin", { listDatabases: 1 }, workMs))["databases"] as readonly Document[];
  const databases = listed.map((each) => String(each["name"])).filter((name) => !ownDatabases.includes(name));
  const counts = { databases: databases.length, collections: 0, documents: 0, indexes: 0 };
  for (const database of databases) {
    for await (const { name, type } of client.documents(database, { listCollections: 1 })) {
      if (type === "view" || String(name).startsWith("system.")) continue;
      counts.collections += 1;
      counts.documents += Number((await client.command(database, { count: name }))["n"]);
      for await (const _ of client.documents(database, { listIndexes: name })) counts.indexes += 1;
    }
  }
  const bytes = listed.reduce((sum, each) => sum + Number(each["sizeOnDisk"] ?? 0), 0);
  return { databases, bytes, counts };
}

/** Drops every database but MongoDB's own. */
export async function dropDatabases(server: Server): Promise<void> {
  for (const database of (await holdingsOf(server)).databases)
    await server.client.command(database, { dropDatabase: 1 }, workMs);
}
