/** A scripted search engine that answers as Elasticsearch 7.10 of Open Distro 1.13 is documented to. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

type Answer = readonly [status: number, body: unknown];

/** An engine whose state a test sets, and which records what it is told. */
export interface Engine {
  password: string;
  /** What it says of itself, and what its nodes say. */
  version: { readonly number: string; readonly distribution?: string };
  nodeVersion: string;
  /** The id of the version that an index was made by: "7100299". */
  created: Record<string, string>;
  /** The version of the snapshots in the repository; undefined: it is not told. */
  snapshotVersion: string | undefined;
  plugins: readonly string[];
  indices: string[];
  /** Those of `indices` that are closed. */
  closed: string[];
  /** How often yet the engine refuses to close an index, for a restore of which it has not noted the end. */
  restoring: number;
  /** As with `cluster.indices.close.enable: false`. */
  refusesToClose: boolean;
  /** Indices that no snapshot takes, whatever is asked for. */
  passedOver: readonly string[];
  streams: string[];
  /** Snapshots in the repository: name and state. */
  snapshots: Record<string, string>;
  /** Indices of the snapshots that were taken here; others hold `.kibana_1` and `events`. */
  taken: Record<string, readonly string[]>;
  /** The state that a new snapshot ends with, after one look at which it is still running. */
  endsAs: string;
  /** How often the engine says yet that a repository is in use, for a deletion or a restore that is under way. */
  inUse: number;
  reload: object;
  /** Of each index. */
  health: string;
  scripts: Record<string, object>;
  templates: Record<string, object>;
  calls: { readonly call: string; readonly body: unknown }[];
  /** Told of each call before it is answered. */
  onCall: (call: string) => void;
}

const missing: Answer = [404, { error: { type: "resource_not_found_exception", reason: "it is missing" } }];
const done: Answer = [200, { acknowledged: true }];

/** The caller must close the server. */
export async function startEngine(
  changes: Partial<Engine> = {},
): Promise<{ readonly engine: Engine; readonly server: Server; readonly port: number }> {
  const engine: Engine = {
    ...{ password: "right", plugins: ["repository-s3"], indices: [".kibana_1", "events"], streams: [], snapshots: {} },
    ...{
      ...{ closed: [], passedOver: [], taken: {}, inUse: 0, restoring: 0, refusesToClose: false },
      ...{ version: { number: "7.10.2" }, nodeVersion: "7.10.2", created: {}, snapshotVersion: undefined },
      endsAs: "SUCCESS",
      health: "green",
      reload: { _nodes: { failed: 0 }, nodes: {} },
      scripts: {},
      templates: {},
      calls: [],
      onCall: () => undefined,
    },
    ...changes,
  };
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const text = Buffer.concat(parts).toString();
    const [path = "", query = ""] = (request.url ?? "").split("?");
    const call = `${request.method} ${path}`;
    const isKnown = request.headers.authorization === `Basic ${btoa(`admin:${engine.password}`)}`;
    const told: unknown = text === "" ? undefined : JSON.parse(text);
    if (call !== "GET /") engine.calls.push({ call, body: told });
    engine.onCall(call);
    const [status, body] = isKnown ? answerTo(engine, { call, query, told }) : ([401, "Unauthorized"] as const);
    response.writeHead(status).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { engine, server, port: (server.address() as AddressInfo).port };
}

interface Request {
  readonly call: string;
  readonly query: string;
  readonly told: unknown;
}

function answerTo(engine: Engine, { call, query, told }: Request): Answer {
  const snapshot = /^(GET|PUT|DELETE) \/_snapshot\/[^/]+\/([^/]+)$/.exec(call);
  if (snapshot !== null) return answerToSnapshot(engine, { method: snapshot[1] ?? "", name: snapshot[2] ?? "", told });
  if (call.endsWith("/_status")) return [200, { snapshots: [{ stats: { processed: { size_in_bytes: 4096 } } }] }];
  if (/^(PUT|DELETE) \/_snapshot\/[^/]+$/.test(call)) return answerToRepository(engine, call);
  const restored = /\/([^/]+)\/_restore$/.exec(call)?.[1];
  if (restored !== undefined) {
    engine.indices = [...(engine.taken[restored] ?? standard)];
    engine.closed = []; // whatever they were when they were taken
    return [200, { accepted: true }];
  }
  const closed = /^POST \/([^/]+)\/_close$/.exec(call)?.[1];
  if (closed !== undefined) {
    if (engine.refusesToClose) return [500, { error: { reason: "closing indices is not enabled" } }];
    if (engine.restoring-- > 0)
      return [400, { error: { reason: "Cannot close indices that are being restored: [[a]]" } }];
    engine.closed.push(decodeURIComponent(closed));
    return done;
  }
  switch (call) {
    case "GET /":
      return [200, { version: engine.version, cluster_uuid: "u" }];
    case "GET /_nodes/plugins": {
      const plugins = engine.plugins.map((name) => ({ name }));
      return [200, { nodes: { a: { name: "es-data-0", version: engine.nodeVersion, roles: ["data"], plugins } } }];
    }
    case "GET /_cat/indices": {
      const rows = [...engine.indices, ".opendistro_security"];
      const open = { status: "open", "docs.count": "2", "pri.store.size": "10" };
      const closed = { status: "close", "docs.count": null, "pri.store.size": null };
      return [
        200,
        rows.map((index) => ({ index, health: engine.health, ...(engine.closed.includes(index) ? closed : open) })),
      ];
    }
    case "GET /_cat/aliases":
      return [200, [{ alias: ".kibana", index: ".kibana_1" }]];
    case "GET /_cluster/health":
      return [200, { indices: Object.fromEntries(engine.indices.map((name) => [name, { status: engine.health }])) }];
    case "GET /_all/_settings/index.version.created": {
      const settings = Object.entries(engine.created).map(([index, id]) => [
        index,
        { settings: { "index.version.created": id } },
      ]);
      return [200, Object.fromEntries(settings)];
    }
    case "GET /_cluster/settings":
      return [200, { persistent: {}, transient: {} }];
    case "GET /_cluster/state/metadata":
      return [200, { metadata: { stored_scripts: engine.scripts } }];
    case "GET /_template":
      return [200, engine.templates];
    case "GET /_cat/recovery":
      return [200, []];
    case "GET /_data_stream":
      return [200, { data_streams: engine.streams.map((name) => ({ name })) }];
    case "POST /_nodes/reload_secure_settings":
      return [200, engine.reload];
  }
  // As the engine does: a parameter that an endpoint does not know is an error.
  if (call.startsWith("DELETE /_data_stream/")) {
    if (query !== "") return [400, { error: { reason: `request contains unrecognized parameter: [${query}]` } }];
    engine.streams = engine.streams.filter((name) => `DELETE /_data_stream/${encodeURIComponent(name)}` !== call);
    return done;
  }
  return call.startsWith("GET ") ? missing : done;
}

/** As the engine does: whatever the settings say, a repository that is in use is not touched. */
function answerToRepository(engine: Engine, call: string): Answer {
  const isRunning = call.endsWith("/kaa-backup") && Object.values(engine.snapshots).includes("IN_PROGRESS");
  if (!isRunning && engine.inUse === 0) return done;
  engine.inUse = Math.max(0, engine.inUse - 1);
  const reason = "trying to modify or unregister repository that is currently used ";
  return [500, { error: { type: "illegal_state_exception", reason } }];
}

const standard = [".kibana_1", "events"];

/** As the engine does: "*" means closed indices only when that is asked for. */
function indicesFor({ indices, closed, passedOver }: Engine, told: unknown): readonly string[] {
  const takesClosed = /all|closed/.test(String((told as { expand_wildcards?: string }).expand_wildcards));
  return indices.filter((name) => !passedOver.includes(name) && (takesClosed || !closed.includes(name)));
}

function answerToSnapshot(
  engine: Engine,
  { method, name, told }: { readonly method: string; readonly name: string; readonly told: unknown },
): Answer {
  if (method === "DELETE") {
    if (engine.snapshots[name] === undefined) return missing;
    delete engine.snapshots[name];
    return done;
  }
  if (method === "PUT") {
    engine.snapshots[name] = "IN_PROGRESS";
    engine.taken[name] = indicesFor(engine, told);
    return [200, { accepted: true }];
  }
  const isOneOf = ([each, state]: [string, string]) =>
    name === "_current" ? state === "IN_PROGRESS" : name === "_all" || each === name;
  const found = Object.entries(engine.snapshots).filter(isOneOf);
  if (found.length === 0 && !name.startsWith("_")) return missing;
  const snapshots = found.map(([each, state]) => ({
    snapshot: each,
    state,
    indices: engine.taken[each] ?? standard,
    version: engine.snapshotVersion,
  }));
  for (const [each, state] of name === "_current" ? [] : found)
    if (state === "IN_PROGRESS") engine.snapshots[each] = engine.endsAs;
  return [200, { snapshots }];
}
