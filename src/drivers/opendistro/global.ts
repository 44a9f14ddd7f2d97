/** What belongs to the cluster and not to an index: templates, pipelines, stored scripts, lasting settings. It is kept
 *  beside the snapshot, as the engine's own answers, because restoring the engine's global state would also replace the
 *  security plugin's part of it. Policies of index state management are in an index, and come back with it. */
import type { JsonValue } from "../../base/json.ts";
import { field } from "../commands.ts";
import { ApiError, type SearchApi } from "./api.ts";

interface Kind {
  /** Where all are listed, and below which each is put. */
  readonly path: string;
  /** Entries of the answer: name and body. */
  readonly entries: (answer: unknown) => readonly (readonly [string, unknown])[];
  /** Below which each is put, when it is not `path`. */
  readonly each?: string;
}

/** Entries of an answer of the form {"key": [{"name": …, "body": …}]}. */
function listed(key: string, body: string) {
  return (answer: unknown) => {
    const list = field(answer, key);
    return (Array.isArray(list) ? list : []).map(
      (each: unknown) => [String(field(each, "name")), field(each, body)] as const,
    );
  };
}

const named = (answer: unknown) => Object.entries((answer ?? {}) as Readonly<Record<string, unknown>>);

/** In the order in which they can be put: pipelines use scripts, index templates are composed of component templates. */
const kinds: Readonly<Record<string, Kind>> = {
  // There is no list of them but in the state of the cluster.
  scripts: {
    path: "/_cluster/state/metadata?filter_path=metadata.stored_scripts",
    each: "/_scripts",
    entries: (answer) =>
      named(field(field(answer, "metadata"), "stored_scripts")).map(([name, script]) => [name, { script }] as const),
  },
  componentTemplates: { path: "/_component_template", entries: listed("component_templates", "component_template") },
  indexTemplates: { path: "/_index_template", entries: listed("index_templates", "index_template") },
  templates: { path: "/_template", entries: named },
  pipelines: { path: "/_ingest/pipeline", entries: named },
};

type Global = Readonly<Record<string, JsonValue>>;

/** The answers as JSON: { templates: { name: body }, …, settings: {…}, policies: … }. */
export async function readGlobal(api: SearchApi): Promise<Global> {
  const global: Record<string, JsonValue> = {};
  for (const [kind, { path, entries }] of Object.entries(kinds)) {
    const found = entries(await api.find(path)).filter(([name]) => !name.startsWith("."));
    global[kind] = Object.fromEntries(found) as JsonValue; // parts of a parsed answer
  }
  const settings = field(await api.call("GET", "/_cluster/settings?flat_settings=true"), "persistent");
  global["settings"] = (settings ?? {}) as JsonValue;
  // For people: where the plugin is there, its index is in the snapshot.
  global["policies"] = ((await api.find("/_opendistro/_ism/policies")) ?? null) as JsonValue;
  return global;
}

/** Makes them those of the snapshot; the engine's own (whose names begin with a dot) are left alone.
 *  @returns what the target refuses, each with its reason. */
export async function applyGlobal(api: SearchApi, wanted: Global): Promise<readonly string[]> {
  const warnings: string[] = [];
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      warnings.push(`${what}: ${error.message}`);
    }
  };
  const existing = await readGlobal(api);
  // Removed in the other order: a component template that is in use cannot go.
  for (const [kind, { path, each = path }] of Object.entries(kinds).reverse()) {
    const gone = Object.keys((existing[kind] ?? {}) as object).filter(
      (name) => field(wanted[kind], name) === undefined,
    );
    for (const name of gone)
      await attempt(`not removed: ${kind} "${name}"`, () => api.call("DELETE", `${each}/${encodeURIComponent(name)}`));
  }
  for (const [kind, { path, each = path }] of Object.entries(kinds)) {
    for (const [name, body] of named(wanted[kind]))
      await attempt(`not restored: ${kind} "${name}"`, () =>
        api.call("PUT", `${each}/${encodeURIComponent(name)}`, body),
      );
  }
  const gone = Object.keys((existing["settings"] ?? {}) as object).filter(
    (key) => field(wanted["settings"], key) === undefined,
  );
  const persistent = {
    ...((wanted["settings"] ?? {}) as object),
    ...Object.fromEntries(gone.map((key) => [key, null])),
  };
  if (Object.keys(persistent).length > 0)
    await attempt("cluster settings not restored", () => api.call("PUT", "/_cluster/settings", { persistent }));
  return warnings;
}
