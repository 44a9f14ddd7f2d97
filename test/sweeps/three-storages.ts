/** A snapshot of three storages, the one in the middle a MariaDB that can be restored. */

import { type RestoreOutcome, restore } from "../../src/restore.ts";
import type { InstanceEntry, Manifest } from "../../src/snapshot/toc.ts";
import type { Store } from "../../src/stores/store.ts";
import { answerCluster } from "../fakes/answer-cluster.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import { scopeOf } from "../fakes/scope.ts";
import { dumpOf, type MadeFile, make, never, noise } from "../snapshot/make.ts";
import { dumpOfMariadb } from "./mariadb-snapshot.ts";

const rows = noise(300).toString("base64");

export interface ThreeStorages {
  readonly file: MadeFile;
  /** What the MariaDB held. */
  readonly database: string;
  /** Restores the MariaDB into one that holds something else. */
  restoreOne(store: Store): Promise<{
    readonly ended: Promise<RestoreOutcome>;
    readonly content: () => string;
    /** Restores that it was asked for. */
    readonly asked: () => number;
  }>;
}

export async function snapshotOfThree(): Promise<ThreeStorages> {
  const file = await make([
    dumpOf("vault", "kaa-vault", { name: "secrets", content: noise(100) }),
    await dumpOfMariadb(rows),
    dumpOf("influxdb", "kaa-influxdb", { name: "all", content: noise(80, "all") }),
  ]);
  const { content: database } = new MariadbPod(rows);
  return { file, database, restoreOne: (store) => restoreOne(file.manifest, store) };
}

export function instanceOfMariadb({ instances }: Manifest): InstanceEntry {
  const found = instances.find(({ storage }) => storage === "mariadb");
  if (found === undefined) throw new Error("the snapshot holds no MariaDB");
  return found;
}

async function restoreOne(manifest: Manifest, store: Store) {
  const target = new MariadbPod("something else");
  const request = {
    date: manifest.name,
    sourceNamespace: manifest.namespace,
    storages: ["mariadb"],
    named: true,
    dryRun: false,
    confirm: async () => {},
  } as const;
  const ended = restore(request, scopeOf(answerCluster("mariadb", target.answer), never), store).then((outcome) => {
    const [first] = outcome.failures;
    if (first !== undefined) throw first.error;
    return outcome;
  });
  ended.catch(() => {}); // the caller looks at it
  return {
    ended,
    content: () => target.content,
    asked: () => target.asked.filter((each) => each === "restore").length,
  };
}
