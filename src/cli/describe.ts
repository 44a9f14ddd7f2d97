/** `describe`: what a snapshot holds, by its own table of contents. */
import { outcomes } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { type InstanceContents, withSnapshot } from "../catalog.ts";
import { outsideParts } from "../outside.ts";
import type { Manifest } from "../snapshot/toc.ts";
import { summaryOf, taskOf } from "../storages.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import type { Session } from "./main.ts";
import { factsText, printerFor } from "./output.ts";
import { datePositional, statusText, storedGroups, storeFor } from "./stored.ts";
import { ageText, durationText, sizeText, tableText } from "./text.ts";

const spec = {
  command: "describe <date>",
  describe: "Show what a snapshot holds",
  details: `Reads the snapshot's own table of contents, two requests in S3: storages, versions, sizes, counts, what is missing and why. It proves
nothing about the bytes: that is what verify does.`,
  positionals: { date: datePositional },
  groups: storedGroups,
  examples: [
    ["describe 12-02-2021-15-28-37 -n production-kaa", "storages, versions, sizes, counts"],
    ["describe 12-02-2021-15-28-37 -n production-kaa -o wide", "also every stream with its SHA-256"],
    ["describe 12-02-2021-15-28-37 --local --dir /var/backup -o json", "of a directory, for programs"],
  ],
  outcomes: ["invalid-snapshot", "not-found", "cluster", "credentials", "object-store", "local-disk"],
} as const satisfies CommandSpec;

export const describeCommand = defineCommand(spec, describe);

async function describe(session: Session, parsed: ParsedOf<typeof spec>): Promise<number> {
  const print = await printerFor(session.io, parsed.output);
  const store = await storeFor(session, parsed);
  return await withSnapshot(store, parsed.date, session.io.signal, async ({ manifest }, { fileName, sizeBytes }) => {
    const outside = await outsideParts(manifest);
    const table = () => `${tableOf(manifest, `${store.location}/${fileName}`, sizeBytes)}${outsideText(outside)}`;
    print({
      document: {
        fileName,
        location: store.location,
        sizeBytes,
        outside: outside.map(({ storage, instance, facts }) => ({ storage, instance, facts })),
        manifest,
      },
      names: [manifest.name],
      table,
      wide: () => `${table()}\n${streamsText(manifest)}`,
    });
    return outcomes.ok.code;
  });
}

function tableOf(manifest: Manifest, place: string, sizeBytes: number): string {
  const { startedAt, finishedAt, tool } = manifest;
  const lastedMs = Date.parse(finishedAt) - Date.parse(startedAt);
  const facts = factsText([
    ["Name", manifest.name],
    ["Status", statusText({ partial: !manifest.complete })],
    ["Namespace", manifest.namespace],
    ["Release", manifest.release],
    ["Age", ageText(new Date(startedAt), new Date())],
    ["Finished", `${finishedAt}, after ${durationText(lastedMs)}`],
    ["File", place],
    ["Size", sizeText(sizeBytes)],
    ["Made by", `${tool.name} ${tool.version}, Kubernetes ${manifest.clusterVersion}`],
  ]);
  const rows = manifest.instances.map((each) => [
    taskOf(each),
    each.serverVersion,
    sizeText(each.streams.reduce((sum, stream) => sum + stream.plain.bytes, 0)),
    summaryOf(each.counts),
  ]);
  const notes = [
    ...manifest.failures.map((each) => `MISSING ${taskOf(each)}: ${each.reason}\n`),
    ...manifest.instances.flatMap((each) => each.warnings.map((warning) => `warning ${taskOf(each)}: ${warning}\n`)),
  ];
  const storages = tableText([["STORAGE", "VERSION", "SIZE", "COUNTS"], ...rows]);
  return `${facts}\n${storages}${notes.length === 0 ? "" : `\n${notes.join("")}`}`;
}

/** What is kept beside the file, by the driver's own record of it. */
function outsideText(outside: readonly InstanceContents[]): string {
  return outside
    .map((each) => `\n${taskOf(each)} is kept outside the file:\n${factsText(outsideFacts(each.facts))}`)
    .join("");
}

function outsideFacts(facts: JsonValue): readonly (readonly [string, string])[] {
  if (typeof facts !== "object" || facts === null) return [];
  return Object.entries(facts).map(([name, value]) => [
    `  ${name}`,
    Array.isArray(value) ? `${value.length}` : typeof value === "object" ? JSON.stringify(value) : String(value),
  ]);
}

/** The paths are those in the file, for whoever takes it apart by hand. */
function streamsText({ instances }: Manifest): string {
  const rows = instances.flatMap(({ folder, streams }) =>
    streams.map(({ name, encoding, plain, segments }) => [
      `${folder}/${name}`,
      encoding === "identity" ? "" : encoding,
      sizeText(plain.bytes),
      sizeText(segments.reduce((sum, { length }) => sum + length, 0)),
      plain.sha256,
    ]),
  );
  return tableText([["STREAM", "ENCODING", "SIZE", "IN FILE", "SHA-256"], ...rows]);
}
