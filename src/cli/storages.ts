/** `storages`: what runs here and could be dumped. */
import type { CommandModule } from "yargs";
import { outcomes } from "../base/errors.ts";
import { findStorages, inspectAll, taskName } from "../storages.ts";
import type { Session } from "./main.ts";
import {
  clusterFlags,
  clusterOf,
  type Flags,
  outputFlags,
  scopeOf,
  storageFlags,
  storagesOf,
  withFlags,
} from "./options.ts";
import { sizeText, tableText } from "./text.ts";

type StoragesFlags = Flags<typeof clusterFlags & typeof storageFlags & typeof outputFlags>;

export function storagesCommand(session: Session): CommandModule<object, StoragesFlags> {
  return {
    command: "storages",
    describe: "Show the storages that run in the namespace",
    builder: (yargs) =>
      withFlags(withFlags(withFlags(yargs, "What", storageFlags), "Cluster", clusterFlags), "Output", outputFlags),
    handler: (parsed) => session.run(parsed, () => storages(session, parsed)),
  };
}

async function storages(session: Session, parsed: StoragesFlags): Promise<number> {
  const { io, reporter } = session;
  const chosen = await storagesOf(parsed, false, reporter);
  const scope = await scopeOf(session, await clusterOf(parsed, io), parsed);
  const { ready, failures } = await inspectAll(scope, await findStorages(scope, chosen.storages));
  if (parsed.output === "json") {
    const found = ready.map(({ instance, inspection }) => ({
      storage: instance.storage,
      instance: instance.name,
      ...inspection,
    }));
    session.print({
      schema: 1,
      storages: found,
      failures: failures.map(({ storage, instance, error }) => ({ storage, instance, reason: error.message })),
    });
  } else {
    const rows = ready.map(({ instance, inspection }) => [
      taskName(instance),
      "Ready",
      inspection.serverVersion,
      sizeText(inspection.estimatedBytes),
      inspection.contents.join(", "),
    ]);
    const failed = failures.map(({ storage, instance, error }) => [
      `${storage}/${instance}`,
      "Failed",
      "",
      "",
      error.message,
    ]);
    session.printText(tableText([["STORAGE", "STATUS", "VERSION", "SIZE", "CONTENTS"], ...rows, ...failed]));
  }
  const [first] = failures;
  return first === undefined ? outcomes.ok.code : first.error.exitCode;
}
