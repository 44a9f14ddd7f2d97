/** A backup that prunes: what becomes of older snapshots, and that the new one stands whatever becomes of them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { type BackupPlan, backup } from "../src/backup.ts";
import { UserError } from "../src/base/errors.ts";
import { listSnapshots } from "../src/catalog.ts";
import type { Cluster } from "../src/cluster/cluster.ts";
import * as scripts from "../src/drivers/mariadb/scripts.ts";
import type { Scope } from "../src/storages.ts";
import { directoryStore } from "../src/stores/local.ts";
import type { Store } from "../src/stores/store.ts";
import { mariadbInspection } from "./fakes/mariadb.ts";
import { mariadbPlan, scopeOf } from "./fakes/scope.ts";
import { heldLock, podNamed, scriptCluster } from "./fakes/script-cluster.ts";
import { snapshotAt, writeTo } from "./snapshots.ts";

const server = { ...mariadbInspection, kept: [], databases: [], accounts: [], counts: { databases: 0 } };
const older = ["01-02-2026-00-00-00", "02-02-2026-00-00-00", "03-02-2026-00-00-00"];
const plan: BackupPlan = {
  ...mariadbPlan,
  strict: false,
  retention: { last: 2, daily: 0, weekly: 0, monthly: 0, withinMs: 0 },
};

let folder: string;
let stop: AbortController;
let confirmations: number;
let onConfirm: () => void;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "kaa-prune-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  stop = new AbortController();
  confirmations = 0;
  onConfirm = () => {};
  for (const day of [1, 2, 3])
    writeTo(
      folder,
      await snapshotAt(new Date(`2026-02-0${day}T00:00:00Z`), { namespace: "kaa", holds: ["mariadb/db"] }),
    );
});

/** @param sick the owner of pods that cannot be inspected. */
function scopeWith(sick?: string): Scope {
  const labels = { "app.kubernetes.io/name": "mariadb" };
  const scripted = scriptCluster(({ script }, pod) => {
    if (pod.owner === sick) throw new UserError("credentials", "access denied");
    return script === scripts.inspectScript ? JSON.stringify(server) : "-- \n-- Dump completed on 2026-11-24\n";
  });
  const part: Partial<Cluster> = {
    checkNamespace: async () => {},
    listPods: async () => ["db", "other"].map((owner) => ({ ...podNamed(`${owner}-0`, labels), owner })),
    version: async () => "v1.34.4",
    lock: async () => ({
      ...heldLock,
      async confirm() {
        confirmations++;
        onConfirm();
      },
    }),
  };
  const signal = AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]);
  return { ...scopeOf({ ...scripted, ...part }, signal), compression: "client" };
}

async function olderThatStay(store: Store): Promise<readonly string[]> {
  const all = await listSnapshots(store, AbortSignal.timeout(5000));
  return all.map(({ name }) => name).filter((name) => older.includes(name));
}

test("what no rule keeps goes, once the new one is there", async () => {
  const store = directoryStore(folder);
  const result = await backup(plan, scopeWith(), store);
  expect(result).toMatchObject({ failures: [], pruned: { removals: [{ removed: true }, { removed: true }] } });
  expect(await olderThatStay(store)).toEqual(["03-02-2026-00-00-00"]);
});

test("nothing goes when a storage is not in the new one", async () => {
  const store = directoryStore(folder);
  const result = await backup(plan, scopeWith("other"), store);
  expect(result).toMatchObject({ fileName: expect.stringContaining(".partial."), failures: [{ instance: "other" }] });
  expect(result.pruned).toBeUndefined();
  expect(await olderThatStay(store)).toEqual(older.toReversed());
});

test.each([
  {
    title: "being told to stop",
    outcome: "terminated",
    act: () => stop.abort(new UserError("terminated", "stopped by SIGTERM")),
  },
  {
    title: "losing the lock",
    outcome: "busy",
    act: () => {
      throw new UserError("busy", "lost the lock");
    },
  },
])("$title while pruning ends that, and the backup is none the worse", async ({ outcome, act }) => {
  onConfirm = () => {
    if (confirmations === 3) act(); // the first is for publishing
  };
  const store = directoryStore(folder);
  const result = await backup(plan, scopeWith(), store);
  expect(result.failures).toEqual([]);
  expect(result.pruned).toMatchObject({
    outcome,
    effect: expect.stringContaining("removed before: 01-02-2026-00-00-00"),
  });
  expect(await olderThatStay(store)).toEqual(["03-02-2026-00-00-00", "02-02-2026-00-00-00"]);
});
