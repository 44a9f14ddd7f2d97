/** The Open Distro driver's surroundings in a test: a scripted engine, its pods, a snapshot of it. */
import type { Server } from "node:http";
import { connect } from "node:net";
import { collect } from "../../src/base/bytes.ts";
import type { Command } from "../../src/cluster/cluster.ts";
import type { Backup, Context, DumpOutput, Instance } from "../../src/drivers/driver.ts";
import { type Engine, startEngine } from "./opendistro.ts";
import { backupOf, contextOf, podNamed, scriptCluster } from "./script-cluster.ts";

const servers: Server[] = [];

/** To be called when the tests of a file have ended. */
export function closeEngines(): void {
  for (const server of servers) server.close();
}

/** An engine, and what a call of the driver needs to reach it. */
export async function started(changes: Partial<Engine> = {}, credentials: Readonly<Record<string, string>> = {}) {
  const { engine, server, port } = await startEngine(changes);
  servers.push(server);
  const commands: Command[] = [];
  const cluster = {
    ...scriptCluster((command) => {
      commands.push(command);
      return "";
    }),
    connect: async () => connect(port, "127.0.0.1"),
  };
  const warned: string[] = [];
  const context: Context = {
    ...contextOf(cluster, AbortSignal.timeout(20_000)),
    location: { bucket: "snapshots", region: "eu-central-1", endpoint: "http://outside:9000" },
    snapshotName: "24-11-2026-01-02-03",
    credentials: {
      OPENDISTRO_PASSWORD: "right",
      AWS_ACCESS_KEY_ID: "id",
      AWS_SECRET_ACCESS_KEY: "key",
      ...credentials,
    },
    warn: (message) => warned.push(message),
  };
  const pods = ["master", "data", "client"].map((role) => podNamed(`es-${role}-0`, { role }));
  const instance: Instance = { storage: "opendistro", name: "kaa-opendistro-es", pods };
  const told = (call: string) => engine.calls.filter((each) => each.call === call).map((each) => each.body);
  return { engine, context, instance, commands, warned, told };
}

export function collecting() {
  const stored = new Map<string, string>();
  const output: DumpOutput = {
    async stream(name, { bytes, finish }) {
      stored.set(name, (await collect(bytes, 1 << 20)).toString());
      await finish();
    },
  };
  return { stored, output };
}

export const ours = "kaa-24-11-2026-01-02-03";
export const facts = { snapshot: ours, basePath: "opendistro/kaa/kaa-opendistro-es", indices: [".kibana_1", "events"] };
export function taken(changes: Readonly<Record<string, Backup["facts"]>> = {}, global: object = {}): Backup {
  const backup = backupOf({ ...facts, ...changes }, { "global.json": JSON.stringify(global) });
  return { ...backup, serverVersion: "7.10.2" };
}
