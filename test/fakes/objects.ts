/** The plain objects of a namespace, in memory: names, conflicts and merge patches as the API server has them. */
import { UserError } from "../../src/base/errors.ts";
import { type Fields, record, text } from "../../src/base/json.ts";
import type { Objects } from "../../src/cluster/cluster.ts";

export interface FakeObjects extends Objects {
  /** By "kind/name". */
  readonly kept: Map<string, Fields>;
  /** Verbs that the account lacks: "patch configmaps". */
  readonly forbidden: Set<string>;
}

export function fakeObjects(): FakeObjects {
  const kept = new Map<string, Fields>();
  const forbidden = new Set<string>();
  const check = (verb: string, kind: string) => {
    if (forbidden.has(`${verb} ${kind}`)) throw new UserError("forbidden", `cannot ${verb} resource "${kind}"`);
  };
  let made = 0;
  return {
    kept,
    forbidden,
    async get(kind, { name }) {
      check("get", kind);
      return kept.get(`${kind}/${name}`);
    },
    async list(kind, _namespace, labels) {
      check("list", kind);
      const wanted = labels.split(",").map((each) => each.split("="));
      return [...kept].flatMap(([key, object]) => {
        const has = record(record(object["metadata"])["labels"]);
        const matches = wanted.every(([label = "", value]) => has[label] === value);
        return key.startsWith(`${kind}/`) && matches ? [object] : [];
      });
    },
    async create(kind, _namespace, body) {
      check("create", kind);
      const metadata = record(body["metadata"]);
      const name = text(metadata["name"]) || `${text(metadata["generateName"])}${made++}`;
      if (kept.has(`${kind}/${name}`)) throw new UserError("busy", `${kind} "${name}" already exists`);
      kept.set(`${kind}/${name}`, body);
      return body;
    },
    async patch(kind, { name }, change) {
      check("patch", kind);
      const known = kept.get(`${kind}/${name}`);
      if (known === undefined) throw new UserError("not-found", `${kind} "${name}" not found`);
      const changed = merged(known, change);
      kept.set(`${kind}/${name}`, changed);
      return changed;
    },
  };
}

function merged(object: Fields, change: Fields): Fields {
  const result: Record<string, unknown> = { ...object };
  for (const [key, value] of Object.entries(change)) {
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    result[key] = isObject ? merged(record(result[key]), record(value)) : value;
  }
  return result;
}
