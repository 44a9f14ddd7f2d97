/** Open Distro for Elasticsearch (Elasticsearch 7, OpenSearch): the engine's own snapshots, in the folder `opendistro` of the
 *  bucket; the archive holds what belongs to no index. docs/storages/opendistro.md has the details. */
import { digestOf } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { readSmall, steadyCounts } from "./commands.ts";
import type { Backup, Driver, DumpOutput, DumpResult, Inspection, RestorePlan, RestoreResult } from "./driver.ts";
import { ApiError, passwordVariable, type SearchApi, userVariable } from "./opendistro/api.ts";
import { readFacts } from "./opendistro/facts.ts";
import { applyGlobal, readGlobal } from "./opendistro/global.ts";
import { discardRunning, whenIdle } from "./opendistro/idle.ts";
import {
  closeIndices,
  deleteIndices,
  indicesOf,
  recoveredIndicesOf,
  requireAll,
  requireHealthy,
  restoreIndices,
  survey,
} from "./opendistro/indices.ts";
import { keyVariables, prepareNodes, requirePlugin } from "./opendistro/nodes.ts";
import { endpointVariable, register, remove } from "./opendistro/repository.ts";
import { discard, ownPrefix, snapshotsIn, take } from "./opendistro/snapshots.ts";
import { engineOf, obstaclesTo, oldestIndex, runningEngine } from "./opendistro/versions.ts";
import { nameIn, placeOf, repository, restoreRepository, tidy, type Work, withApi } from "./opendistro/work.ts";

const streamName = "global.json";

const driver: Driver = {
  storage: "opendistro",
  title: "Open Distro",
  canUseDirectory: false,
  credentialVariables: [userVariable, passwordVariable, endpointVariable, ...keyVariables],
  selectors: [
    { app: "*opendistro-es" },
    { "app.kubernetes.io/name": "opendistro-es" },
    { app: "elasticsearch-opendistro" },
  ],
  // Master, data and client nodes are StatefulSets and Deployments of their own; Kibana is none of them.
  instanceOf: (pod) =>
    pod.labels["role"] === "kibana" ? undefined : pod.owner.replace(/-(master|data|client|coordinating|ingest)$/, ""),
  inspect: (instance, context) => withApi(instance, context, (api) => inspect(api)),
  dump: (instance, output, context) => withApi(instance, context, (api) => dump({ api, instance, context }, output)),
  plan: (instance, backup, context) => withApi(instance, context, (api) => plan(api, backup)),
  restore: (instance, backup, context) =>
    withApi(instance, context, (api) => restore({ api, instance, context }, backup)),
  discard: (instance, _facts, context) => withApi(instance, context, (api) => forget({ api, instance, context })),
};
export default driver;

async function inspect(api: SearchApi): Promise<Inspection> {
  await requirePlugin(api);
  const indices = await indicesOf(api);
  requireHealthy(indices);
  return {
    serverVersion: api.version,
    estimatedBytes: indices.reduce((sum, each) => sum + each.bytes, 0),
    contents: indices.map(({ name }) => name),
    warnings: [],
  };
}

async function dump(work: Work, output: DumpOutput): Promise<DumpResult> {
  const { api, instance, context } = work;
  requireHealthy(await recoveredIndicesOf(api));
  const place = placeOf(work);
  const client = await prepareNodes(api, instance, context);
  await register(api, { name: repository, place, client, isReadOnly: false }, context);
  const published = await context.publishedNames?.();
  await deleteLeftovers(api, published);
  const before = await survey(api);
  const global = Buffer.from(JSON.stringify(await readGlobal(api)));
  const { indices, version } = await take(api, repository, nameIn(context), context).catch(async (error: unknown) => {
    if (!published?.has(context.snapshotName)) await abandon(work); // else that name is another run's
    throw error;
  });
  const after = await survey(api);
  requireAll(indices, before, after);
  const digest = digestOf(global);
  await output.stream(streamName, {
    encoding: "identity",
    bytes: (async function* () {
      yield global;
    })(),
    finish: async () => ({ plain: digest, stored: digest, by: "protocol" }),
  });
  const [engine, oldest] = [await runningEngine(api), await oldestIndex(api)];
  const closed = after.indices.filter(({ name, isClosed }) => isClosed && indices.includes(name));
  return {
    ...steadyCounts(before.counts, after.counts),
    facts: {
      ...{ snapshot: nameIn(context), basePath: place.basePath, indices: [...indices], state: "SUCCESS" },
      closed: closed.map(({ name }) => name),
      engine: { ...engine, ...(version !== "" && { version }) },
      ...(oldest !== undefined && { oldest: { ...oldest } }),
    },
  };
}

/** Of runs that died: every snapshot of ours that no published file belongs to, and one that an earlier attempt began. */
async function deleteLeftovers(api: SearchApi, published: ReadonlySet<string> | undefined): Promise<void> {
  if (published === undefined) return;
  for (const { name } of await snapshotsIn(api, repository))
    if (name.startsWith(ownPrefix) && !published.has(name.slice(ownPrefix.length)))
      await discard(api, repository, name);
}

/** Stops the engine at the snapshot that we have given up: while it runs, the repository can be used for nothing else. */
async function abandon(work: Work): Promise<void> {
  const name = nameIn(work.context);
  await tidy(work, `the snapshot "${name}" may still be running`, (fresh) => discard(fresh, repository, name));
}

async function forget(work: Work): Promise<void> {
  const { api, instance, context } = work;
  const place = placeOf(work);
  // Also when it is registered: it may be that of another bucket, where the snapshot would seem to be gone.
  const client = await prepareNodes(api, instance, context);
  await register(api, { name: repository, place, client, isReadOnly: false }, context);
  await discard(api, repository, nameIn(context));
}

async function plan(api: SearchApi, backup: Backup): Promise<RestorePlan> {
  const { indices, engine, oldest } = readFacts(backup.facts);
  const existing = await indicesOf(api);
  await requirePlugin(api);
  return {
    drops: existing.map(({ name }) => `index ${name}`),
    creates: indices.map((name) => `index ${name}`),
    keeps: ["users, roles and certificates of the security plugin"],
    warnings: [
      "stop Kibana and what writes while indices are restored: it would make its index anew",
      ...(backup.serverVersion === api.version
        ? []
        : [`snapshot of ${backup.serverVersion}, target is ${api.version}`]),
    ],
    obstacles: obstaclesTo(await runningEngine(api), engine ?? engineOf(backup.serverVersion), oldest),
  };
}

async function restore(work: Work, backup: Backup): Promise<RestoreResult> {
  const { api, instance, context } = work;
  const { snapshot, basePath, indices, closed } = readFacts(backup.facts);
  const [stream] = backup.streams;
  if (stream?.name !== streamName || backup.streams.length !== 1)
    throw new UserError("invalid-snapshot", `the snapshot lacks opendistro's "${streamName}"`);
  const global = JSON.parse((await readSmall(stream)).toString("utf8")) as Readonly<Record<string, JsonValue>>; // we wrote it
  const { bucket } = placeOf(work);
  const client = await prepareNodes(api, instance, context);
  await register(api, { name: restoreRepository, place: { bucket, basePath }, client, isReadOnly: true }, context);
  let effect = "Open Distro was not changed";
  try {
    const [found] = await snapshotsIn(api, restoreRepository, snapshot);
    if (found?.state !== "SUCCESS") {
      const is = found === undefined ? "is not there" : `is ${found.state}`;
      throw new UserError("invalid-snapshot", `Open Distro's snapshot "${snapshot}" in ${bucket}/${basePath} ${is}`);
    }
    const missing = indices.filter((name) => !found.indices.includes(name));
    if (missing.length > 0)
      throw new UserError("invalid-snapshot", `Open Distro's snapshot "${snapshot}" lacks ${missing.join(", ")}`);
    // Snapshots of earlier versions do not tell it in their record.
    const [obstacle] = found.version === "" ? [] : obstaclesTo(await runningEngine(api), engineOf(found.version));
    if (obstacle !== undefined) throw new UserError("refused", obstacle);
    // Indices of which a snapshot is being taken cannot be deleted.
    await whenIdle({ api, repository, context }, (limited) => discardRunning(limited, repository));
    effect = "indices are missing or incomplete until the restore is repeated";
    const existing = await indicesOf(api);
    await deleteIndices(
      api,
      existing.map(({ name }) => name),
    );
    const refused = await applyGlobal(api, global);
    await restoreIndices(api, { repository: restoreRepository, snapshot, indices }, context);
    const warnings = [...refused, ...(await closeIndices(api, closed, context))];
    return { counts: (await survey(api)).counts, warnings };
  } catch (error) {
    const known = error instanceof ApiError ? new UserError("storage-failed", `Open Distro: ${error.message}`) : error;
    if (!(known instanceof UserError)) throw known;
    throw new UserError(known.outcome, known.message, { cause: known.cause, hints: known.hints, effect });
  } finally {
    const left = `the repository "${restoreRepository}" is still registered`;
    await tidy(work, left, (fresh) => remove(fresh, restoreRepository));
  }
}
