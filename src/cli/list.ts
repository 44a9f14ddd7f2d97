/** `list`: which snapshots there are. Plain, it asks the store for names only; wide, also for the end of each file. */
import { isOutcome, outcomes, UserError } from "../base/errors.ts";
import { type CatalogEntry, type Described, describeSnapshots, isOfFuture, listSnapshots } from "../catalog.ts";
import { driversOutside } from "../outside.ts";
import type { Store } from "../stores/store.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import type { Session } from "./main.ts";
import { storesOfAll } from "./options.ts";
import { printerFor } from "./output.ts";
import { statusText, storedGroups, storeFor } from "./stored.ts";
import { ageText, sizeText, tableText } from "./text.ts";

const spec = {
  command: "list",
  aliases: ["ls"],
  describe: "List snapshots, newest first",
  details: `Asks for names only, however many there are. -o wide also reads the end of each snapshot, and says what it holds. Dates are UTC.`,
  groups: {
    Options: {
      "all-namespaces": {
        type: "boolean",
        alias: "A",
        describe: "The snapshots of every namespace whose bucket the S3 credentials may see",
      },
    },
    ...storedGroups,
  },
  examples: [
    ["list -n production-kaa", "names, sizes and ages"],
    ["list -n production-kaa -o wide", "also what each holds"],
    ["list -A", "of all namespaces that keep snapshots in S3"],
  ],
  outcomes: ["attention", "not-found", "cluster", "credentials", "object-store", "local-disk"],
} as const satisfies CommandSpec;

type ListFlags = ParsedOf<typeof spec>;

export const listCommand = defineCommand(spec, list);

/** A snapshot, where it is kept, and what its own table of contents says. */
interface Listed extends CatalogEntry {
  readonly place: Place;
  /** When the listing is wide. */
  readonly details?: Described;
}

interface Place {
  /** With -A: the namespace whose bucket it is. */
  readonly namespace?: string;
  readonly store: Store;
}

async function list(session: Session, parsed: ListFlags): Promise<number> {
  const { io, reporter } = session;
  const print = await printerFor(io, parsed.output);
  const now = new Date();
  const isWide = parsed.output === "wide";
  let needsALook = false;
  const listed: Listed[] = [];
  for (const place of await placesOf(session, parsed)) {
    try {
      listed.push(...(await listPlace(place, isWide, io.signal)));
    } catch (error) {
      // With -A: the credentials may see that a bucket is there, and not what is in it.
      if (place.namespace === undefined || !isOutcome(error, "credentials", "not-found")) throw error;
      needsALook = true;
      reporter.warning(error.message);
    }
  }
  for (const { name, details, ...each } of listed) {
    if (isOfFuture(each, now)) reporter.warning(`${name} is dated in the future: a clock was wrong, there or here`);
    if (details?.problem === undefined) continue;
    needsALook = true;
    reporter.warning(details.problem.message);
  }
  if (listed.length === 0) reporter.note("no snapshots");
  const outside = isWide ? (await driversOutside()).map(({ storage }) => storage) : [];
  print({
    document: { snapshots: listed.map((each) => documentOf(each, now)) },
    names: listed.map(({ name }) => name),
    table: () => tableOf(listed, parsed, (each) => rowOf(each, now)),
    wide: () => tableOf(listed, parsed, (each) => ({ ...rowOf(each, now), ...detailsOf(each, outside) })),
  });
  return needsALook ? outcomes.attention.code : outcomes.ok.code;
}

async function placesOf(session: Session, parsed: ListFlags): Promise<readonly Place[]> {
  if (parsed["all-namespaces"] !== true) return [{ store: await storeFor(session, parsed) }];
  for (const flag of ["local", "dir", "bucket", "source-namespace"] as const) {
    if (parsed[flag] !== undefined) throw new UserError("usage", `--all-namespaces and --${flag} exclude each other`);
  }
  return await storesOfAll(session.io, session.reporter);
}

async function listPlace(place: Place, isWide: boolean, signal: AbortSignal): Promise<readonly Listed[]> {
  const entries = await listSnapshots(place.store, signal);
  if (!isWide) return entries.map((entry) => ({ ...entry, place }));
  const described = await describeSnapshots(place.store, entries, signal);
  return described.map((details) => ({ ...details, place, details }));
}

function documentOf({ name, fileName, startedAt, sizeBytes, partial, place }: Listed, now: Date): object {
  return {
    ...(place.namespace !== undefined && { namespace: place.namespace }),
    name,
    fileName,
    location: place.store.location,
    startedAt,
    sizeBytes,
    partial,
    future: isOfFuture({ startedAt }, now),
  };
}

type Row = Readonly<Record<string, string>>;

/** The columns are those of the rows; there is none without rows. */
function tableOf(listed: readonly Listed[], parsed: ListFlags, row: (each: Listed) => Row): string {
  const rows = listed.map((each) => ({
    ...(parsed["all-namespaces"] === true && { NAMESPACE: each.place.namespace ?? "" }),
    ...row(each),
  }));
  const [first] = rows;
  return first === undefined ? "" : tableText([Object.keys(first), ...rows.map((each) => Object.values(each))]);
}

function rowOf(entry: Listed, now: Date): Row {
  return {
    NAME: entry.name,
    STATUS: statusText(entry),
    SIZE: sizeText(entry.sizeBytes),
    AGE: ageText(entry.startedAt, now),
  };
}

function detailsOf({ details, place }: Listed, outside: readonly string[]): Row {
  const manifest = details?.manifest;
  if (manifest === undefined)
    return { STATUS: "Unreadable", NAMESPACE: place.namespace ?? "", RELEASE: "", TOOL: "", STORAGES: "" };
  const { instances, failures, namespace, release, tool } = manifest;
  const storages = [...new Set(instances.map(({ storage }) => storage))].map((storage) =>
    outside.includes(storage) ? `${storage} (outside the file)` : storage,
  );
  const missing = failures.map(({ storage }) => `MISSING ${storage}`);
  return {
    NAMESPACE: namespace,
    RELEASE: release,
    TOOL: tool.version,
    STORAGES: [...storages, ...missing].join(", "),
  };
}
