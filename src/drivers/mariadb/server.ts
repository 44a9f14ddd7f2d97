/** What a MariaDB server is: the pod to talk to, and what its inspection found. */
import { UserError } from "../../base/errors.ts";
import type { Pod, Target } from "../../cluster/cluster.ts";
import { chooseTarget, runForJson } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { inPod, secrets } from "./pod.ts";
import { inspectArguments, inspectScript } from "./scripts.ts";

export interface Account {
  readonly user: string;
  readonly host: string;
}

/** Made by the SQL of inspectScript. */
interface Answer {
  readonly version: string;
  readonly tool: string;
  readonly rootUser: string;
  readonly appUser: string;
  /** Users whose accounts a restore leaves alone, as far as they exist here. */
  readonly kept: readonly string[];
  readonly login: string;
  readonly missingRights: readonly string[];
  readonly isReadOnly: boolean;
  readonly isReplica: boolean;
  /** 0 outside Galera. */
  readonly galeraNodes: number;
  readonly eventScheduler: "ON" | "OFF" | "DISABLED";
  readonly lowerCaseNames: number;
  readonly bytes: number;
  readonly databases: readonly string[];
  readonly strayDatabases: readonly string[];
  readonly accounts: readonly (Account & { readonly isRole: boolean; readonly plugins: readonly string[] })[];
  readonly notTransactional: readonly string[];
  readonly external: readonly string[];
  readonly unreadableViews: readonly { readonly database: string; readonly name: string }[];
  readonly versioned: readonly string[];
  readonly versionedByTransaction: readonly string[];
  readonly lostDefiners: readonly Account[];
  readonly functions: readonly string[];
  /** Those with ";;" in them: mariadb-dump looks for a delimiter that is not, and never stops (create_delimiter in mysqldump.c;
   *  seen with 10.11.18). */
  readonly endlessEvents: readonly string[];
  readonly engines: readonly string[];
  readonly availableEngines: readonly string[];
  readonly availablePlugins: readonly string[];
  readonly counts: Readonly<Record<string, number>>;
}

export interface Server extends Answer {
  readonly target: Target;
}

/** Logs in to the primary and looks around; changes nothing.
 *  @throws UserError `credentials`, `storage-not-ready`. */
export async function lookAt(instance: Instance, context: Context): Promise<Server> {
  const server = await primaryOf(instance, context);
  const { version, tool, target } = server;
  const where = `pod "${target.pod.name}"`;
  if (!/mariadb/i.test(version)) throw notReady(`${where} runs ${version}, which is not MariaDB`);
  if (compareVersions(version, "10.4") < 0) throw notReady(`MariaDB ${version} is too old: 10.4 is the oldest`);
  const toolVersion = /([\d.]+)-MariaDB/i.exec(tool)?.[1] ?? "";
  if (compareVersions(toolVersion, version) < 0) throw notReady(`"${tool}" is older than the server, ${version}`);
  if (server.missingRights.length > 0) {
    throw new UserError("credentials", `"${server.login}" lacks rights: ${server.missingRights.join(", ")}`);
  }
  return server;
}

/** The only pod; else the one that is labelled as primary; else the only one that can be written to and copies no other. All
 *  nodes of a Galera cluster hold the same, so the first will do. */
async function primaryOf(instance: Instance, context: Context): Promise<Server> {
  const ready = instance.pods.filter((pod) => pod.ready);
  const labelled = ready.filter((pod) => /^(primary|master)$/.test(roleOf(pod)));
  const candidates = labelled.length > 0 ? labelled : ready;
  if (candidates.length < 2) return await inspectPod(instance, candidates, context);
  const servers = await Promise.all(candidates.map((pod) => inspectPod(instance, [pod], context)));
  const writable = servers.filter((server) => !server.isReadOnly && !server.isReplica);
  const [first, ...others] = writable.toSorted((a, b) => (a.target.pod.name < b.target.pod.name ? -1 : 1));
  if (first !== undefined && (others.length === 0 || writable.every((server) => server.galeraNodes > 0))) return first;
  const states = servers.map(
    ({ target, isReadOnly, isReplica }) =>
      `${target.pod.name} (${isReplica ? "replica" : "no replica"}, ${isReadOnly ? "read-only" : "writable"})`,
  );
  throw notReady(`which pod of "${instance.name}" is the primary? There are ${states.join(", ")}`);
}

async function inspectPod(instance: Instance, pods: readonly Pod[], context: Context): Promise<Server> {
  const target = chooseTarget(pods.length === 0 ? instance : { ...instance, pods }, {
    variables: /^(MARIADB|MYSQL)_ROOT_PASSWORD(_FILE)?$/,
    name: /mariadb|mysql/,
  });
  const command = { script: inspectScript, args: inspectArguments, secrets: secrets(context) };
  const answer = (await inPod(() => runForJson(context, target, command))) as unknown as Answer; // made by our SQL
  return { ...answer, target };
}

function roleOf({ labels }: Pod): string {
  const keys = ["app.kubernetes.io/component", "role", "component", "k8s.mariadb.com/role"];
  return keys.flatMap((key) => labels[key] ?? [])[0] ?? "";
}

function notReady(message: string): UserError {
  return new UserError("storage-not-ready", message);
}

/** "10.11" of "10.11.19-MariaDB-0+deb12u1"; two such versions are compatible with each other. */
export function seriesOf(version: string): string {
  return /^\d+\.\d+/.exec(version)?.[0] ?? version;
}

/** By as many parts as both have. */
export function compareVersions(a: string, b: string): number {
  const parts = (version: string) => (/^[\d.]*/.exec(version)?.[0] ?? "").split(".").map(Number);
  const [left, right] = [parts(a), parts(b)];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
