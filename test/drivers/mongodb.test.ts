/** The MongoDB driver against a scripted server: what the bed's stand-in cannot show (replica sets, sharding, roles). */
import { connect, createServer, type Server, type Socket } from "node:net";
import { type Document, deserialize, serialize } from "bson";
import { afterEach, describe, expect, test } from "vitest";
import { collect, digestOf } from "../../src/base/bytes.ts";
import type { Cluster, Command, Pod } from "../../src/cluster/cluster.ts";
import type { Backup, BackupStream, Context, DumpOutput, Instance } from "../../src/drivers/driver.ts";
import { WireClient } from "../../src/drivers/mongodb/wire.ts";
import mongodb from "../../src/drivers/mongodb.ts";

const container = { name: "mongodb", ready: true, ports: [{ name: "mongodb", port: 27017 }], environment: {} };
const pod: Pod = {
  name: "kaa-mongodb-0",
  namespace: "kaa",
  uid: "1",
  labels: {},
  owner: "kaa-mongodb",
  ready: true,
  phase: "Running",
  containers: [container],
};
const instance: Instance = { storage: "mongodb", name: "kaa-mongodb", pods: [pod] };

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

interface World {
  readonly hello: Document;
  readonly users: Document[];
  readonly roles: Document[];
  /** Databases with the number of documents of their only collection, "things". */
  readonly databases: Map<string, number>;
  readonly missingTools?: string;
  readonly restoreSays?: string;
}

const lone: World["hello"] = { ok: 1, isWritablePrimary: true };
const replicated: World["hello"] = { ...lone, setName: "rs0" };

function cursor(ns: string, firstBatch: readonly Document[]): Document {
  return { ok: 1, cursor: { id: 0, ns, firstBatch } };
}

/** What the scripted server answers. */
function answer(world: World, command: Document): Document {
  const database = String(command["$db"]);
  switch (Object.keys(command)[0]) {
    case "hello":
      return world.hello;
    case "buildInfo":
      return { ok: 1, version: "4.4.10" };
    case "listDatabases":
      return { ok: 1, databases: ["admin", ...world.databases.keys()].map((name) => ({ name, sizeOnDisk: 10 })) };
    case "listCollections":
      return cursor(`${database}.$cmd.listCollections`, [{ name: "things", type: "collection" }]);
    case "listIndexes":
      return cursor(`${database}.things`, [{ name: "_id_" }]);
    case "count":
      return { ok: 1, n: world.databases.get(database) ?? 0 };
    case "find":
      return cursor(`admin.${command["find"]}`, command["find"] === "system.users" ? world.users : world.roles);
    case "dropDatabase":
      world.databases.delete(database);
      return { ok: 1 };
    case "update":
    case "delete":
      // As mongod does: `root` may write to system.users alone.
      return Object.values(command)[0] === "system.users"
        ? { ok: 1, n: 1 }
        : { ok: 0, code: 13, errmsg: "not authorized" };
    default:
      return { ok: 1 };
  }
}

/** A context whose only pod is a scripted server; `commands` and `scripts` tell what came. */
async function scripted(world: World) {
  const commands: Document[] = [];
  const scripts: Command[] = [];
  const server = createServer((socket) => serve(socket, world, commands));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the scripted server has no port");
  const cluster: Pick<Cluster, "connect" | "execute"> = {
    connect: async () => connect(address.port, "127.0.0.1"),
    execute(_target, command) {
      scripts.push(command);
      const text = outputOf(command, world);
      const bytes = Buffer.from(text);
      const done = (async () => {
        if (command.input !== undefined) await collect(command.input.bytes, 1000);
        return { plain: digestOf(bytes), sent: digestOf(bytes), stderr: "" };
      })();
      return {
        output: (async function* () {
          await done;
          yield bytes;
        })(),
        done,
      };
    },
  };
  const context: Context = {
    cluster: cluster as Cluster,
    namespace: "kaa",
    location: { region: "us-east-1" },
    snapshotName: "",
    credentials: {},
    compression: "client",
    signal: AbortSignal.timeout(20_000),
    warn: () => {},
  };
  return { context, commands, scripts };
}

function outputOf({ script }: Command, world: World): string {
  if (script.includes("command -v")) return world.missingTools ?? "mongodump version: 100.5.1\n";
  if (script.includes("mongorestore"))
    return world.restoreSays ?? "7 document(s) restored successfully. 0 document(s) failed to restore.";
  if (script.includes("mongodump")) return "an archive";
  return ""; // the environment: no password is asked for
}

async function serve(socket: Socket, world: World, commands: Document[]): Promise<void> {
  socket.on("error", () => {});
  let buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    buffer = Buffer.concat([buffer, chunk as Buffer]);
    while (buffer.byteLength >= 4 && buffer.byteLength >= buffer.readInt32LE(0)) {
      const message = buffer.subarray(0, buffer.readInt32LE(0));
      buffer = buffer.subarray(message.byteLength);
      const command = deserialize(message.subarray(21));
      commands.push(command);
      const body = serialize(answer(world, command));
      const head = Buffer.alloc(21);
      head.writeInt32LE(21 + body.byteLength, 0);
      head.writeInt32LE(message.readInt32LE(4), 8);
      head.writeInt32LE(2013, 12);
      // In two pieces, cut inside the header, as a network may.
      socket.write(head.subarray(0, 7));
      socket.write(Buffer.concat([head.subarray(7), body]));
    }
  }
}

function stream(name: string, bytes: Buffer): BackupStream {
  return {
    name,
    encoding: "identity",
    plain: digestOf(bytes),
    stored: digestOf(bytes),
    async *read() {
      yield bytes;
    },
  };
}

const sourceUsers: Document[] = [
  { _id: "admin.root", user: "root", db: "admin", credentials: { secret: "of the source" } },
  { _id: "kaa.søren", user: "søren", db: "kaa", roles: [{ role: "reader", db: "kaa" }] },
];
const sourceRoles: Document[] = [
  { _id: "kaa.reader", role: "reader", db: "kaa", privileges: [], roles: [{ role: "writer", db: "kaa" }] },
  { _id: "kaa.writer", role: "writer", db: "kaa", privileges: [], roles: [] },
];

function backupOf(facts: { readonly oplog: boolean }): Backup {
  const accounts = serialize({ "system.users": sourceUsers, "system.roles": sourceRoles });
  return {
    serverVersion: "4.4.10",
    counts: {},
    facts: { databases: ["kaa"], users: sourceUsers.map((each) => String(each["_id"])), oplog: facts.oplog },
    streams: [stream("archive", Buffer.from("an archive")), stream("accounts.bson", Buffer.from(accounts))],
  };
}

function worldOf(changes: Partial<World> = {}): World {
  const databases = new Map([["kaa", 7]]);
  return { hello: lone, users: sourceUsers, roles: sourceRoles, databases, ...changes };
}

async function dumpOf(world: World) {
  const { context, scripts } = await scripted(world);
  const names: string[] = [];
  const output: DumpOutput = {
    async stream(name, { bytes, finish }) {
      names.push(name);
      await collect(bytes, 100_000);
      await finish();
    },
  };
  const result = await mongodb.dump(instance, output, context);
  return { result, names, dump: scripts.find(({ script }) => script.includes("--archive")) };
}

describe("a dump", () => {
  test("of a replica set holds the oplog", async () => {
    const { result, names, dump } = await dumpOf(worldOf({ hello: replicated }));
    expect(names).toEqual(["accounts.bson", "archive"]);
    expect(dump?.args).toContain("--oplog");
    expect(result.facts).toMatchObject({ oplog: true, databases: ["kaa"] });
    expect(result.counts).toEqual({ databases: 1, collections: 1, documents: 7, indexes: 1, users: 2 });
  });

  test("of a server without an oplog is labelled", async () => {
    const { result, dump } = await dumpOf(worldOf());
    expect(dump?.args).not.toContain("--oplog");
    expect(result.warnings.join()).toContain("no replica set, so no oplog");
  });

  test("of a sharded cluster is refused with the reason", async () => {
    await expect(dumpOf(worldOf({ hello: { ...lone, msg: "isdbgrid" } }))).rejects.toThrow(/MongoDB is sharded/);
  });

  test("of a secondary is refused", async () => {
    await expect(dumpOf(worldOf({ hello: { ok: 1, isWritablePrimary: false } }))).rejects.toThrow(/is a primary/);
  });

  test("names the tools that the pod lacks", async () => {
    const refused = dumpOf(worldOf({ missingTools: "missing mongodump\n" }));
    await expect(refused).rejects.toMatchObject({ outcome: "storage-not-ready", message: /lacks mongodump/ });
  });
});

describe("a restore", () => {
  test.each([{ oplog: true }, { oplog: false }])(
    "never asks mongorestore for what it refuses ($oplog)",
    async (facts) => {
      const { context, scripts } = await scripted(worldOf({ hello: replicated }));
      const { warnings } = await mongodb.restore(instance, backupOf(facts), context);
      const command = scripts.find(({ script }) => script.includes("--stopOnError"));
      expect(command?.script).toContain("--nsExclude");
      expect(`${command?.script} ${command?.args}`).not.toContain("--oplogReplay");
      expect(warnings.some((each) => each.startsWith("not point-in-time"))).toBe(facts.oplog);
    },
  );

  test("drops databases that the snapshot does not hold", async () => {
    const world = worldOf({
      databases: new Map([
        ["later", 1],
        ["kaa", 2],
      ]),
    });
    const { context } = await scripted(world);
    await mongodb.restore(instance, backupOf({ oplog: false }), context);
    expect([...world.databases.keys()]).toEqual([]); // mongorestore, which is scripted, would fill them
  });

  test("writes users as documents and roles by commands, each once all exist", async () => {
    const users = [{ _id: "admin.root" }, { _id: "kaa.later" }];
    const roles = [{ _id: "kaa.gone", db: "kaa", role: "gone" }];
    const { context, commands } = await scripted(worldOf({ users, roles }));
    await mongodb.restore(instance, backupOf({ oplog: false }), context);
    const done = commands.flatMap((each) =>
      ["dropRole", "createRole", "updateRole"].flatMap((name) => (name in each ? [`${name} ${each[name]}`] : [])),
    );
    expect(done).toEqual([
      "dropRole gone",
      "createRole reader",
      "createRole writer",
      "updateRole reader",
      "updateRole writer",
    ]);
    const removed = commands
      .filter((each) => each["delete"] === "system.users")
      .map((each) => each["deletes"][0].q._id);
    expect(removed).toContain("kaa.later");
  });

  test("leaves the administrator that the target's Secret names alone", async () => {
    const users = [{ _id: "admin.root" }];
    const { context, commands } = await scripted(worldOf({ users }));
    const { applyAccounts } = await import("../../src/drivers/mongodb/accounts.ts");
    const { WireClient } = await import("../../src/drivers/mongodb/wire.ts");
    const client = new WireClient(await context.cluster.connect(pod, 27017, context.signal));
    const login = { user: "root", password: "unused" };
    const target = { pod, container: "mongodb" };
    const server = { target, port: 27017, login, client, version: "4.4.10", replicaSet: undefined };
    await applyAccounts(server, { "system.users": sourceUsers, "system.roles": [] });
    client.close();
    const written = commands
      .filter((each) => each["update"] === "system.users")
      .map((each) => each["updates"][0].q._id);
    expect(written).toEqual(["kaa.søren"]);
    expect(commands.some((each) => each["delete"] === "system.users")).toBe(false);
  });

  test("fails when a single document could not be restored", async () => {
    const restoreSays = "6 document(s) restored successfully. 1 document(s) failed to restore.";
    const { context } = await scripted(worldOf({ restoreSays }));
    const failing = mongodb.restore(instance, backupOf({ oplog: false }), context);
    await expect(failing).rejects.toMatchObject({ outcome: "storage-failed", message: /1 documents/ });
  });

  test("drops nothing when the tool is missing or the users in the snapshot are damaged", async () => {
    const world = worldOf({ missingTools: "missing mongorestore\n" });
    const { context } = await scripted(world);
    await expect(mongodb.restore(instance, backupOf({ oplog: false }), context)).rejects.toThrow(/lacks mongorestore/);
    const damaged = { "system.users": [{ _id: 5 }], "system.roles": [] };
    const backup = backupOf({ oplog: false });
    const streams = [stream("archive", Buffer.from("a")), stream("accounts.bson", Buffer.from(serialize(damaged)))];
    await expect(mongodb.restore(instance, { ...backup, streams }, context)).rejects.toThrow(/are damaged/);
    expect([...world.databases.keys()]).toEqual(["kaa"]);
  });

  test("is planned with the warning that the oplog is not replayed", async () => {
    const { context } = await scripted(worldOf({ databases: new Map([["later", 1]]) }));
    const plan = await mongodb.plan(instance, backupOf({ oplog: true }), context);
    expect(plan.drops).toEqual(["database later"]);
    expect(plan.warnings.join()).toContain("not replayed");
  });
});

describe("a server that takes the connection", () => {
  async function clientOf(serve: (socket: Socket) => void, stallMs: number) {
    const server = createServer(serve);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the server has no port");
    return new WireClient(connect(address.port, "127.0.0.1"), stallMs);
  }

  test.each([
    ["says nothing", (_: Socket) => {}],
    ["says half an answer", (socket: Socket) => void socket.write("half")],
  ])("and %s is given up", async (_, serve) => {
    const client = await clientOf(serve, 100);
    await expect(client.command("admin", { hello: 1 })).rejects.toMatchObject({
      outcome: "stream-lost",
      message: expect.stringMatching(/failed at "hello": nothing more of the answer came for 0.1 s/),
    });
  });

  test("has longer for what takes long, and is not hurried while nothing is asked", async () => {
    const world = { hello: lone, users: [], roles: [], databases: new Map<string, number>() };
    const client = await clientOf((socket) => {
      const write = socket.write.bind(socket);
      socket.write = ((chunk: Buffer) => void setTimeout(() => write(chunk), 300)) as unknown as typeof write;
      void serve(socket, world, []);
    }, 100);
    expect(await client.command("a", { dropDatabase: 1 }, 5000)).toMatchObject({ ok: 1 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(await client.command("a", { dropDatabase: 1 }, 5000)).toMatchObject({ ok: 1 });
    client.close();
  });
});
