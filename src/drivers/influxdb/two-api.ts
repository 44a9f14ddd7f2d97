/** InfluxDB 2.x's HTTP API: what the server holds, asked with the operator's token. */
import { UserError } from "../../base/errors.ts";
import { field, readEnvironment } from "../commands.ts";
import type { Context } from "../driver.ts";
import { quickMs, sendRequest } from "../http.ts";
import type { Found } from "./generation.ts";

export const tokenVariable = "INFLUXDB_ADMIN_USER_TOKEN";
/** Bitnami's image has the first, InfluxData's own the second. */
const inPod = [tokenVariable, "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN", "INFLUX_TOKEN"] as const;

/** The operator's token: what the operator has set, else what the container's environment holds.
 *  @throws UserError `credentials` when there is none. */
export async function tokenOf({ target }: Found, context: Context): Promise<string> {
  const given = context.credentials[tokenVariable];
  if (given !== undefined && given !== "") return given;
  const found = await readEnvironment(context, target, inPod);
  const token = inPod.map((name) => found[name]).find((value) => value !== undefined);
  if (token !== undefined) return token;
  throw new UserError(
    "credentials",
    `no token for InfluxDB: pod "${target.pod.name}" has none of ${inPod.join(", ")}`,
    {
      hints: [`give the operator's token in ${tokenVariable}`],
    },
  );
}

/** Names of what there is, those of buckets as "organization/bucket", in the server's order. */
export interface Holdings {
  readonly organizations: readonly string[];
  readonly buckets: readonly string[];
  readonly users: readonly string[];
  readonly tasks: number;
  readonly dashboards: number;
}

/** @throws UserError `credentials`; `storage-failed`. */
export async function holdingsOf(server: Found, token: string, signal: AbortSignal): Promise<Holdings> {
  const all = (kind: Kind) => pages(server, { kind, token, signal });
  const organizations = await all("orgs");
  const organizationNames = new Map(organizations.map((each) => [field(each, "id"), nameOf(each)]));
  const buckets = (await all("buckets")).filter((each) => field(each, "type") !== "system");
  return {
    organizations: organizations.map(nameOf),
    buckets: buckets.map((each) => `${organizationNames.get(field(each, "orgID")) ?? "?"}/${nameOf(each)}`),
    users: (await all("users")).map(nameOf),
    tasks: (await all("tasks")).length,
    dashboards: (await all("dashboards")).length,
  };
}

const nameOf = (value: unknown) => String(field(value, "name") ?? "");

type Kind = "orgs" | "buckets" | "users" | "tasks" | "dashboards";
const pageSize = 100;

/** All of a kind. Tasks are paged by the last one's id, everything else by number (InfluxDB OSS 2.x API reference). */
async function pages(
  { agent, target }: Found,
  { kind, token, signal }: { readonly kind: Kind; readonly token: string; readonly signal: AbortSignal },
): Promise<readonly unknown[]> {
  const found: unknown[] = [];
  for (;;) {
    const after = found.at(-1);
    const isByNumber = kind !== "tasks";
    const from = isByNumber ? `&offset=${found.length}` : after === undefined ? "" : `&after=${idOf(after)}`;
    const path = `/api/v2/${kind}?limit=${pageSize}${from}`;
    const headers = { authorization: `Token ${token}` };
    const { status, body } = await sendRequest(agent, { method: "GET", path, headers, signal, answerMs: quickMs });
    if (status === 401 || status === 403)
      throw new UserError("credentials", `InfluxDB in pod "${target.pod.name}" refuses the operator's token`, {
        hints: [`give one that may do everything in ${tokenVariable}: influx auth list`],
      });
    if (status !== 200) throw new UserError("storage-failed", `InfluxDB: list of ${kind}: HTTP ${status}`);
    const page = field(parsed(body.toString("utf8")), kind);
    if (!Array.isArray(page)) throw new UserError("storage-failed", `InfluxDB's list of ${kind} is none`);
    found.push(...(page as readonly unknown[])); // at most a page
    if (page.length < pageSize) return found;
  }
}

const idOf = (value: unknown) => encodeURIComponent(String(field(value, "id")));

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
