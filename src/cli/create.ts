/** `create`: flags -> plan -> backup(). */
import type { CommandModule } from "yargs";
import { backup, defaultRetry } from "../backup.ts";
import { messageOf, outcomes, UserError } from "../base/errors.ts";
import { findStorages, inspectAll, taskName } from "../storages.ts";
import type { Store } from "../stores/store.ts";
import type { Session } from "./main.ts";
import {
  clusterFlags,
  clusterOf,
  type Flags,
  outputFlags,
  scopeOf,
  storageFlags,
  storagesOf,
  storeFlags,
  storeOf,
  withFlags,
} from "./options.ts";
import { sizeText, tableText } from "./text.ts";

const flags = {
  strict: { type: "boolean", describe: "Publish nothing unless every storage was dumped" },
  "dry-run": { type: "boolean", describe: "Look at every storage, dump nothing" },
  compression: { choices: ["auto", "pod", "client"] as const, default: "auto" as const, describe: "Who compresses" },
  "compression-level": { type: "number", default: 3, describe: "zlib's level, 1 to 9, when this side compresses" },
} as const;

type CreateFlags = Flags<
  typeof flags & typeof clusterFlags & typeof storeFlags & typeof storageFlags & typeof outputFlags
>;

export function createCommand(session: Session): CommandModule<object, CreateFlags> {
  return {
    command: "create",
    describe: "Back up storages into one snapshot",
    builder: (yargs) =>
      withFlags(
        withFlags(
          withFlags(withFlags(yargs, "What", storageFlags), "Where to", storeFlags).options(flags),
          "Cluster",
          clusterFlags,
        ),
        "Output",
        outputFlags,
      ),
    handler: (parsed) => session.run(parsed, () => create(session, parsed)),
  };
}

/** @param options.copyDirectory leave a copy of what goes to S3 there; when that fails, the snapshot stays and the exit
 *  code is `attention`. */
export async function create(
  session: Session,
  parsed: CreateFlags,
  options: { readonly copyDirectory?: string } = {},
): Promise<number> {
  const { io, reporter } = session;
  const level = parsed["compression-level"];
  if (!Number.isInteger(level) || level < 1 || level > 9)
    throw new UserError("usage", "--compression-level is a number from 1 to 9");
  if (parsed["source-namespace"] !== undefined)
    throw new UserError("usage", "--source-namespace has no meaning for create");
  const chosen = await storagesOf(parsed, parsed.local === true, reporter);
  const cluster = await clusterOf(parsed, io);
  const scope = await scopeOf(session, cluster, parsed, { compression: parsed.compression });
  if (parsed["dry-run"] === true) return await dryRun(session, scope, chosen.storages);
  const store = await storeOf(parsed, scope.namespace, io, reporter);
  const { target, copyOutcome } = await withCopy(session, store, options.copyDirectory);
  const plan = {
    ...chosen,
    strict: parsed.strict === true,
    compressionLevel: level,
    tool: session.tool,
    retry: defaultRetry,
  };
  const result = await backup(plan, scope, target);
  const { manifest, fileName, sizeBytes, failures, location } = result;
  if (parsed.output === "json") {
    const storages = manifest.instances.map(({ storage, instance, counts, warnings }) => ({
      storage,
      instance,
      counts,
      warnings,
    }));
    session.print({
      schema: 1,
      name: manifest.name,
      fileName,
      location,
      sizeBytes,
      complete: manifest.complete,
      storages,
      failures: manifest.failures,
    });
  } else if (parsed.output === "name") session.printText(`${manifest.name}\n`);
  else
    session.printText(
      `${manifest.complete ? "created" : "created PARTIAL"} ${location}/${fileName} (${sizeText(sizeBytes)})\n`,
    );
  for (const { storage, instance, error } of failures)
    reporter.warning(`not in the snapshot: ${storage}/${instance}: ${error.message}`);
  const isClean = failures.length === 0 && copyOutcome() === "none failed";
  return isClean ? outcomes.ok.code : outcomes.attention.code;
}

/** The store, and what became of the copy that it leaves in `directory`. */
async function withCopy(
  { io, reporter }: Session,
  store: Store,
  directory: string | undefined,
): Promise<{ readonly target: Store; readonly copyOutcome: () => "none failed" | "failed" }> {
  if (directory === undefined) return { target: store, copyOutcome: () => "none failed" };
  let hasFailed = false;
  const { copyingStore } = await import("../stores/copying.ts");
  const copy = await storeOf({ local: true, dir: directory, ...noOtherStore }, "", io, reporter);
  const target = copyingStore(store, copy, (error) => {
    hasFailed = true;
    reporter.warning(`no copy in ${copy.location}: ${messageOf(error)}`);
  });
  return { target, copyOutcome: () => (hasFailed ? "failed" : "none failed") };
}

const noOtherStore = { bucket: undefined, "source-namespace": undefined } as const;

async function dryRun(
  session: Session,
  scope: Parameters<typeof findStorages>[0],
  storages: Parameters<typeof findStorages>[1],
): Promise<number> {
  const { ready, failures } = await inspectAll(scope, await findStorages(scope, storages));
  const rows = ready.map(({ instance, inspection }) => [
    taskName(instance),
    inspection.serverVersion,
    sizeText(inspection.estimatedBytes),
    inspection.contents.join(", "),
  ]);
  session.printText(tableText([["STORAGE", "VERSION", "SIZE", "CONTENTS"], ...rows]));
  const [first] = failures;
  if (first !== undefined) throw first.error.in(`${first.storage}/${first.instance}`);
  return outcomes.ok.code;
}
