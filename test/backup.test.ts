/** Backups of a scripted server into a directory: what becomes of the run when a pod does not stay. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { type BackupPlan, backup } from "../src/backup.ts";
import { UserError } from "../src/base/errors.ts";
import type { Cluster, Pod } from "../src/cluster/cluster.ts";
import * as scripts from "../src/drivers/mariadb/scripts.ts";
import type { Scope } from "../src/storages.ts";
import { directoryStore } from "../src/stores/local.ts";
import { mariadbInspection } from "./fakes/mariadb.ts";
import { mariadbPlan, scopeOf } from "./fakes/scope.ts";
import { heldLock, podNamed, scriptCluster } from "./fakes/script-cluster.ts";

const server = { ...mariadbInspection, kept: [], databases: [], accounts: [], counts: { databases: 0 } };

const plan: BackupPlan = { ...mariadbPlan, retry: { attempts: 2, pauseMs: 1, readyMs: 2000 } };

/** Backs up from a pod that is replaced while it is dumped, as a StatefulSet does it: the name stays, the uid is another.
 *  @param later what listPods gives from then on; the last for ever. */
async function backedUp(later: readonly (readonly Pod[])[]) {
  const labels = { "app.kubernetes.io/name": "mariadb" };
  let pods: readonly Pod[] = [{ ...podNamed("db-0", labels), uid: "old" }];
  const coming = [...later];
  let isReplaced = false;
  const dumpedFrom: string[] = [];
  const scripted = scriptCluster(({ script }, pod) => {
    if (isReplaced && pod.uid === "old") throw new UserError("storage-not-ready", "the pod was replaced");
    if (script === scripts.inspectScript) return JSON.stringify(server);
    dumpedFrom.push(pod.uid);
    if (pod.uid !== "old") return "-- \n-- Dump completed on 2026-11-24\n";
    isReplaced = true;
    throw new UserError("stream-lost", "connection lost");
  });
  const part: Partial<Cluster> = {
    checkNamespace: async () => {},
    listPods: async () => {
      if (isReplaced) pods = coming.shift() ?? pods;
      return pods;
    },
    version: async () => "v1.34.4",
    lock: async () => heldLock,
  };
  const scope: Scope = {
    ...scopeOf({ ...scripted, ...part }, AbortSignal.timeout(20_000)),
    compression: "client",
  };
  const folder = mkdtempSync(join(tmpdir(), "kaa-backup-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const outcome = await backup(plan, scope, directoryStore(folder)).catch((error: unknown) => error);
  return { outcome, dumpedFrom };
}

const labels = { "app.kubernetes.io/name": "mariadb" };
const fresh = { ...podNamed("db-0", labels), uid: "new" };

test("a dump that lost its pod is tried again in the pod that replaced it", async () => {
  const { outcome, dumpedFrom } = await backedUp([[fresh]]);
  expect(dumpedFrom).toEqual(["old", "new"]);
  expect(outcome).toMatchObject({ failures: [], fileName: expect.not.stringContaining("partial") });
});

test("it waits until there is such a pod and it is ready", async () => {
  const starting = { ...fresh, ready: false, phase: "Pending" };
  const { outcome, dumpedFrom } = await backedUp([[], [starting], [starting], [fresh]]);
  expect(dumpedFrom).toEqual(["old", "new"]);
  expect(outcome).toMatchObject({ failures: [] });
});

/** One database in one pod, and an empty folder for its snapshots.
 *  @param inspect what the pod tells of its server. */
function oneDatabase(inspect: () => string): { readonly scope: Scope; readonly folder: string } {
  const pod = podNamed("db-0", labels);
  const scripted = scriptCluster(({ script }) =>
    script === scripts.inspectScript ? inspect() : "-- \n-- Dump completed on 2026-11-24\n",
  );
  const part: Partial<Cluster> = {
    checkNamespace: async () => {},
    listPods: async () => [pod],
    version: async () => "v1.34.4",
    lock: async () => heldLock,
  };
  const scope: Scope = { ...scopeOf({ ...scripted, ...part }, AbortSignal.timeout(20_000)), compression: "client" };
  const folder = mkdtempSync(join(tmpdir(), "kaa-backup-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return { scope, folder };
}

test("a run that begins in the second in which an earlier one began and ended takes the next one's name, and asks the store once", async () => {
  const { scope, folder } = oneDatabase(() => JSON.stringify(server));
  await pause(1000 - (Date.now() % 1000)); // both within one second
  const names: string[] = [];
  for (let run = 0; run < 2; run++) {
    const store = directoryStore(folder);
    const prepare = vi.spyOn(store, "prepare");
    names.push((await backup(plan, scope, store)).fileName);
    expect(prepare).toHaveBeenCalledOnce();
  }
  expect(readdirSync(folder).sort()).toEqual(names);
});

test.each([
  ["storage-not-ready", 2, "complete"],
  ["storage-not-ready", 3, "failed"],
  ["credentials", 1, "failed"],
] as const)("a look that fails with %s, %i times of three: %s", async (outcome, times, end) => {
  let looks = 0;
  const { scope, folder } = oneDatabase(() => {
    if (looks++ < times) throw new UserError(outcome, "an election");
    return JSON.stringify(server);
  });
  const run = backup({ ...plan, retry: { attempts: 3, pauseMs: 1, readyMs: 0 } }, scope, directoryStore(folder));
  if (end === "complete") await expect(run).resolves.toMatchObject({ failures: [] });
  else await expect(run).rejects.toMatchObject({ outcome, message: expect.stringContaining("an election") });
});

test("when no pod comes, the run fails and says so", async () => {
  const { outcome, dumpedFrom } = await backedUp([[]]);
  expect(dumpedFrom).toEqual(["old"]);
  expect(outcome).toMatchObject({ outcome: "storage-not-ready", message: expect.stringContaining("no pods any more") });
});

test("the store is told how much to expect: what the server says, and once there is a snapshot, what that holds", async () => {
  const { scope, folder } = oneDatabase(() => JSON.stringify({ ...server, bytes: 123_456_789 }));
  const expected: unknown[] = [];
  for (let run = 0; run < 2; run++) {
    const store = directoryStore(folder);
    const save = vi.spyOn(store, "save");
    await backup(plan, scope, store);
    expected.push(save.mock.calls[0]?.[0].expectedBytes);
  }
  expect(expected[0]).toBe(123_456_789);
  expect(expected[1]).toBeGreaterThan(0);
  expect(expected[1]).toBeLessThan(1000);
});
