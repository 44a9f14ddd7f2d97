/** A cluster in which a function answers for each script that a driver runs: what a driver asks for, and in which state. */
import { digestOf } from "../../src/base/bytes.ts";
import type { Cluster, Command, Execution, Lock, Pod } from "../../src/cluster/cluster.ts";
import type { Backup, BackupStream, Context, Instance } from "../../src/drivers/driver.ts";

/** @returns the script's output; may throw. */
export type Answer = (command: Command, pod: Pod) => string | Uint8Array;

export function scriptCluster(answer: Answer): Cluster {
  const cluster: Pick<Cluster, "execute"> = {
    execute({ pod }, command): Execution {
      const result = (async () => {
        command.signal.throwIfAborted();
        const output = Buffer.from(answer(command, pod));
        command.signal.throwIfAborted();
        return output;
      })();
      const done = result.then((output) => ({ plain: digestOf(output), sent: digestOf(output), stderr: "" }));
      done.catch(() => {}); // whoever only reads the output gets the same error there
      async function* bytes() {
        yield await result;
      }
      return { output: bytes(), done };
    },
  };
  return cluster as Cluster;
}

export function podNamed(name: string, labels: Readonly<Record<string, string>> = {}): Pod {
  const container = { name: "server", ready: true, ports: [], environment: {} };
  const facts = { namespace: "kaa", owner: "db", ready: true, phase: "Running", containers: [container] };
  return { ...facts, name, uid: `uid of ${name}`, labels };
}

export function instanceOf(storage: string): Instance {
  return { storage, name: "db", pods: [podNamed("db-0")] };
}

export function contextOf(cluster: Cluster, signal: AbortSignal): Context {
  return {
    cluster,
    namespace: "kaa",
    location: { region: "eu-central-1" },
    snapshotName: "",
    credentials: {},
    compression: "auto",
    signal,
    warn: () => {},
  };
}

export function backupOf(facts: Backup["facts"], streams: Readonly<Record<string, string>>): Backup {
  const kept = Object.entries(streams).map(([name, text]): BackupStream => {
    const digest = digestOf(Buffer.from(text));
    const read = async function* () {
      yield Buffer.from(text);
    };
    return { name, encoding: "identity", plain: digest, stored: digest, read };
  });
  return { serverVersion: "10.11.6-MariaDB", counts: {}, facts, streams: kept };
}

/** A lock that nobody takes away. */
export const heldLock: Lock = {
  lost: new AbortController().signal,
  abandoned: undefined,
  confirm: async () => {},
  release: async () => {},
};
