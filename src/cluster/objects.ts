/** Plain objects of the API: ConfigMaps, Events, Jobs, CronJobs. */
import { UserError } from "../base/errors.ts";
import { type Fields, list, record, text } from "../base/json.ts";
import { apiPath, type Connection, callApi, isApiStatus } from "./api.ts";
import type { ObjectKind, Objects } from "./cluster.ts";

const groups = {
  configmaps: ["api", "v1"],
  cronjobs: ["apis", "batch", "v1"],
  events: ["apis", "events.k8s.io", "v1"],
  jobs: ["apis", "batch", "v1"],
  pods: ["api", "v1"],
} as const satisfies Record<ObjectKind, readonly string[]>;

const perPage = 500;

function pathOf(kind: ObjectKind, namespace: string, ...name: readonly string[]): string {
  return apiPath(...groups[kind], "namespaces", namespace, kind, ...name);
}

export function apiObjects(connection: Connection): Objects {
  return {
    async get(kind, { namespace, name }, signal) {
      const doing = `cannot read ${kind} "${name}"`;
      try {
        const path = pathOf(kind, namespace, name);
        return record(await callApi(connection, { method: "GET", path, doing, signal }));
      } catch (error) {
        if (isApiStatus(error, 404)) return undefined;
        throw error;
      }
    },
    list: (kind, namespace, labels, signal) =>
      listAll(connection, { path: pathOf(kind, namespace), labels, doing: `cannot list ${kind}`, namespace, signal }),
    async create(kind, namespace, body, signal) {
      const doing = `cannot create ${kind} in namespace "${namespace}"`;
      return record(await callApi(connection, { method: "POST", path: pathOf(kind, namespace), body, doing, signal }));
    },
    async patch(kind, { namespace, name }, change, signal) {
      const doing = `cannot change ${kind} "${name}"`;
      const path = pathOf(kind, namespace, name);
      return record(await callApi(connection, { method: "PATCH", path, body: change, doing, signal }));
    },
  };
}

/** Every object of a collection, page by page. */
export async function listAll(
  connection: Connection,
  request: {
    readonly path: string;
    readonly labels?: string;
    readonly doing: string;
    /** Undefined for what is in none. */
    readonly namespace?: string;
    readonly signal: AbortSignal;
  },
): Promise<readonly Fields[]> {
  const { path, labels, signal } = request;
  const doing =
    request.namespace === undefined ? request.doing : `${request.doing} in namespace "${request.namespace}"`;
  const objects: Fields[] = [];
  let next = "";
  do {
    const query = new URLSearchParams({ limit: String(perPage) });
    if (labels !== undefined) query.set("labelSelector", labels);
    if (next !== "") query.set("continue", next);
    const page = record(await callApi(connection, { method: "GET", path: `${path}?${query}`, doing, signal }));
    // Not as arguments of one call: a server that ignores pages sends more than a call can take.
    for (const each of list(page["items"])) objects.push(each);
    const token = text(record(page["metadata"])["continue"]);
    if (token !== "" && token === next) throw new UserError("cluster", `${doing}: the server repeats a page for ever`);
    next = token;
  } while (next !== "");
  return objects;
}
