/** What flags and arguments may be, as far as somebody can be asked: the kubeconfig, the cluster, the store. Asking takes two
 *  and a half seconds at most, and what goes wrong in it is nobody's concern: then there are no candidates. */
import { setTimeout as pause } from "node:timers/promises";
import type { Reporter } from "../base/reporter.ts";
import { oldCommands } from "../drivers/old-names.ts";
import { driverNames } from "../drivers/registry.ts";
import { readConfig } from "./config.ts";
import type { Io } from "./io.ts";
import { outputFormats } from "./output.ts";
import { addSettings, settingsIn } from "./settings.ts";
import type { StoredFlags } from "./stored.ts";
import { ageText, sizeText } from "./text.ts";

export interface Candidate {
  readonly value: string;
  /** What it is, or "". */
  readonly what: string;
}

/** Where the cursor is. */
export interface Place {
  readonly io: Io;
  /** What is typed already, by the names of flags; "true" for those without a value. */
  readonly flags: Readonly<Record<string, string>>;
  readonly positionals: readonly string[];
}

interface Answer {
  readonly candidates: readonly Candidate[];
  /** Several may stand there, with commas between them. */
  readonly isList?: boolean;
  /** The order means something. */
  readonly isOrdered?: boolean;
}

export type Source = (place: Place) => Promise<Answer>;

const longestMs = 2500;

/** By the names of flags and arguments. */
const sources: Readonly<Record<string, Source | "file" | "directory">> = {
  context: named("contexts"),
  cluster: named("clusters"),
  user: named("users"),
  namespace: namespaces,
  "source-namespace": namespaces,
  storage: async () => ({ candidates: plain(driverNames), isList: true }),
  output: async () => ({ candidates: plain(outputFormats.map((each) => each.replace("TEMPLATE", ""))) }),
  date: snapshots,
  dates: snapshots,
  "backup-date": snapshots,
  command: async () => ({ candidates: plain([...oldCommands.keys()]) }),
  kubeconfig: "file",
  config: "file",
  "certificate-authority": "file",
  "client-certificate": "file",
  "client-key": "file",
  dir: "directory",
  to: "directory",
};

/** Undefined when nobody can tell. */
export function sourceOf(name: string): Source | "file" | "directory" | undefined {
  return name.endsWith("-file") ? "file" : Object.hasOwn(sources, name) ? sources[name] : undefined;
}

function plain(values: readonly string[]): readonly Candidate[] {
  return values.map((value) => ({ value, what: "" }));
}

/** Whatever happens, there is an answer in time: a credential plugin may wait for a person who does not know of it. */
async function orNothing<T>(io: Io, fallback: T, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const signal = AbortSignal.any([io.signal, AbortSignal.timeout(longestMs)]);
  const late = pause(longestMs, fallback, { ref: false });
  return await Promise.race([ask(signal).catch(() => fallback), late]);
}

function named(kind: "contexts" | "clusters" | "users"): Source {
  return async ({ io, flags }) => ({
    candidates: await orNothing(io, [], async () => plain((await kubeconfig({ io, flags }))[kind])),
  });
}

async function kubeconfig({ io, flags }: Pick<Place, "io" | "flags">) {
  const { kubeconfigNames } = await import("../cluster/kubeconfig.ts");
  const { kubeconfig: path } = flags;
  return await kubeconfigNames({ environment: io.env, ...(path !== undefined && { kubeconfig: path }) });
}

/** Few may list all namespaces; the others are offered those of their contexts. */
async function namespaces(place: Place): Promise<Answer> {
  const { io } = place;
  const known = orNothing(io, [], async () => (await kubeconfig(place)).namespaces);
  const all = orNothing<readonly string[]>(io, [], async (signal) => {
    const { clusterOf } = await import("./options.ts");
    const { flags } = await completed(place);
    return await (await clusterOf({ ...flags, namespace: undefined }, io)).listNamespaces(signal);
  });
  return { candidates: plain([...new Set([...(await all), ...(await known)])].toSorted()) };
}

async function snapshots(place: Place): Promise<Answer> {
  const { positionals } = place;
  const candidates = await orNothing<readonly Candidate[]>(place.io, [], async (signal) => {
    const [{ storeFor }, { listSnapshots }] = await Promise.all([import("./stored.ts"), import("../catalog.ts")]);
    const { flags, io } = await completed(place);
    const isLocal = flags.local === true || oldCommands.get(positionals[0] ?? "")?.local === true;
    const store = await storeFor({ io, reporter: silent }, { ...flags, local: isLocal });
    const now = new Date();
    return (await listSnapshots(store, signal)).map(({ name, sizeBytes, startedAt, partial }) => ({
      value: name,
      what: `${partial ? "partial, " : ""}${sizeText(sizeBytes)}, ${ageText(startedAt, now)}`,
    }));
  });
  return { candidates, isOrdered: true };
}

/** The flags as the command would have them, with what environment and configuration say. */
async function completed({ io, flags }: Place): Promise<{ readonly flags: StoredFlags; readonly io: Io }> {
  const { settings } = await readConfig(flags["config"], io);
  const given: Record<string, unknown> = { ...flags };
  for (const [name, value] of Object.entries(flags))
    if (value === "true" || value === "false") given[name] = value === "true";
  if (flags["as-group"] !== undefined) given["as-group"] = [flags["as-group"]];
  addSettings(given, [settingsIn(io), settings], (name) => name !== "dir");
  const dir = io.env["KAA_BACKUP_DIR"] || settings["dir"];
  // The parser would have made the same of them; what is left of a mistyped one is an error, and so nothing.
  return {
    flags: given as StoredFlags,
    io: { ...io, env: { ...io.env, ...(dir && { KAA_BACKUP_DIR: String(dir) }) } },
  };
}

const ignore = () => {};
const silent: Reporter = {
  planned: ignore,
  started: ignore,
  progressBytes: ignore,
  finished: ignore,
  failed: ignore,
  note: ignore,
  warning: ignore,
  detail: ignore,
};
