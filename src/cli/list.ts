/** `list`, `describe` and `verify`: reading a store. They contact a cluster only to learn the context's namespace, which
 *  takes no request. */
import type { ArgumentsCamelCase, CommandModule } from "yargs";
import { outcomes } from "../base/errors.ts";
import { listSnapshots, withSnapshot } from "../catalog.ts";
import type { Store } from "../stores/store.ts";
import { verify } from "../verify.ts";
import type { Session } from "./main.ts";
import { clusterFlags, clusterOf, type Flags, outputFlags, storeFlags, storeOf, withFlags } from "./options.ts";
import { ageText, sizeText, tableText } from "./text.ts";

type ReadFlags = Flags<typeof clusterFlags & typeof storeFlags & typeof outputFlags>;
type DateFlags = ReadFlags & { date: string };

export function listCommand(session: Session): CommandModule<object, ReadFlags> {
  return {
    command: "list",
    aliases: ["ls"],
    describe: "List snapshots, newest first",
    builder: (yargs) =>
      withFlags(withFlags(withFlags(yargs, "Where from", storeFlags), "Cluster", clusterFlags), "Output", outputFlags),
    handler: (parsed) => session.run(parsed, () => list(session, parsed)),
  };
}

async function list(session: Session, parsed: ReadFlags): Promise<number> {
  const entries = await listSnapshots(await storeFor(session, parsed), session.io.signal);
  const status = (partial: boolean) => (partial ? "Partial" : "Complete");
  if (parsed.output === "json") {
    const snapshots = entries.map(({ name, fileName, startedAt, sizeBytes, partial }) => ({
      name,
      fileName,
      startedAt,
      sizeBytes,
      partial,
    }));
    session.print({ schema: 1, snapshots });
  } else if (parsed.output === "name") session.printText(entries.map((each) => `${each.name}\n`).join(""));
  else {
    const now = new Date();
    const rows = entries.map((each) => [
      each.name,
      status(each.partial),
      sizeText(each.sizeBytes),
      ageText(each.startedAt, now),
    ]);
    if (rows.length === 0) session.reporter.note("no snapshots");
    else session.printText(tableText([["NAME", "STATUS", "SIZE", "AGE"], ...rows]));
  }
  return outcomes.ok.code;
}

function dateCommand(
  session: Session,
  command: {
    readonly name: string;
    readonly describe: string;
    readonly work: (session: Session, parsed: ArgumentsCamelCase<DateFlags>) => Promise<number>;
  },
): CommandModule<object, DateFlags> {
  return {
    command: `${command.name} <date>`,
    describe: command.describe,
    builder: (yargs) =>
      withFlags(
        withFlags(withFlags(yargs, "Where from", storeFlags), "Cluster", clusterFlags),
        "Output",
        outputFlags,
      ).positional("date", {
        type: "string",
        demandOption: true,
        describe: "DD-MM-YYYY-hh-mm-ss, UTC",
      }),
    handler: (parsed) => session.run(parsed, () => command.work(session, parsed)),
  };
}

export function describeCommand(session: Session): CommandModule<object, DateFlags> {
  return dateCommand(session, { name: "describe", describe: "Show what a snapshot holds", work: describe });
}

async function describe(session: Session, parsed: DateFlags): Promise<number> {
  const store = await storeFor(session, parsed);
  return await withSnapshot(store, parsed.date, session.io.signal, async ({ manifest }, file) => {
    if (parsed.output === "json")
      session.print({ schema: 1, fileName: file.fileName, sizeBytes: file.sizeBytes, manifest });
    else if (parsed.output === "name") session.printText(`${manifest.name}\n`);
    else {
      const facts = [
        ["Name:", manifest.name],
        ["Status:", manifest.complete ? "Complete" : "Partial"],
        ["Namespace:", manifest.namespace],
        ["Release:", manifest.release],
        ["Finished:", manifest.finishedAt],
        ["Size:", sizeText(file.sizeBytes)],
        ["Made by:", `${manifest.tool.name} ${manifest.tool.version}, Kubernetes ${manifest.clusterVersion}`],
      ];
      const rows = manifest.instances.map((each) => [
        `${each.storage}/${each.instance}`,
        each.serverVersion,
        sizeText(each.streams.reduce((sum, stream) => sum + stream.plain.bytes, 0)),
        Object.entries(each.counts)
          .map(([unit, count]) => `${count} ${unit}`)
          .join(", "),
      ]);
      const warnings = manifest.instances.flatMap((each) =>
        each.warnings.map((warning) => `${each.storage}/${each.instance}: ${warning}\n`),
      );
      const failures = manifest.failures.map((each) => `MISSING ${each.storage}/${each.instance}: ${each.reason}\n`);
      session.printText(
        `${tableText(facts)}\n${tableText([["STORAGE", "VERSION", "SIZE", "COUNTS"], ...rows])}${[...warnings, ...failures].join("")}`,
      );
    }
    return outcomes.ok.code;
  });
}

export function verifyCommand(session: Session): CommandModule<object, DateFlags> {
  return dateCommand(session, {
    name: "verify",
    describe: "Prove that every byte of a snapshot is as it was written",
    work: verifyWhole,
  });
}

async function verifyWhole(session: Session, parsed: DateFlags): Promise<number> {
  const result = await verify(await storeFor(session, parsed), parsed.date, {
    reporter: session.reporter,
    signal: session.io.signal,
  });
  const { fileName, sizeBytes, manifest } = result;
  if (parsed.output === "json")
    session.print({ schema: 1, fileName, sizeBytes, complete: manifest.complete, verified: true });
  else session.printText(`${fileName} is whole (${sizeText(sizeBytes)}${manifest.complete ? "" : ", Partial"})\n`);
  return outcomes.ok.code;
}

async function storeFor(session: Session, parsed: ReadFlags): Promise<Store> {
  let namespace = parsed["source-namespace"] ?? parsed.namespace;
  if (namespace === undefined && parsed.local !== true && parsed.bucket === undefined) {
    namespace = (await clusterOf(parsed, session.io)).defaultNamespace;
  }
  return await storeOf(parsed, namespace ?? "", session.io, session.reporter);
}
