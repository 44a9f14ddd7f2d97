/** `download`: a snapshot from S3 into a directory, where `--local --dir` finds it. */
import { basename, dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { outcomes, UserError } from "../base/errors.ts";
import { type CatalogEntry, findSnapshots } from "../catalog.ts";
import { download } from "../download.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { clusterFlags, outputFlags, storeFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { printerFor, type Shown } from "./output.ts";
import { datePositional, storeFor } from "./stored.ts";
import { sizeText } from "./text.ts";

const { local: _local, dir: _dir, ...s3Flags } = storeFlags;
const spec = {
  command: "download <date>",
  describe: "Copy a snapshot from S3 into a directory, and prove the copy",
  details: `The copy is read to its last byte and compared with its table of contents. When that fails nothing is left. A file of that name is never
replaced. --local --dir reads it there.`,
  positionals: { date: datePositional },
  groups: {
    Options: {
      to: { type: "string", default: ".", describe: "A directory, or a file in one with the snapshot's own name" },
    },
    "Where from": s3Flags,
    Cluster: clusterFlags,
    Output: outputFlags,
  },
  examples: [
    ["download 12-02-2021-15-28-37 -n production-kaa", "into the current directory"],
    ["download 12-02-2021-15-28-37 -n production-kaa --to /var/backup", "into another"],
  ],
  outcomes: [
    "invalid-snapshot",
    "not-found",
    "cluster",
    "busy",
    "credentials",
    "object-store",
    "local-disk",
    "leftovers",
  ],
} as const satisfies CommandSpec;

type DownloadFlags = ParsedOf<typeof spec>;

export const downloadCommand = defineCommand(spec, downloadSnapshot);

async function downloadSnapshot(session: Session, parsed: DownloadFlags): Promise<number> {
  const { io, reporter } = session;
  const print = await printerFor(io, parsed.output);
  const source = await storeFor(session, { ...parsed, local: undefined, dir: undefined });
  const [entry] = await findSnapshots(source, [parsed.date], io.signal);
  if (entry === undefined) throw new Error(`no entry for ${parsed.date}`); // one for each date
  const directory = directoryOf(parsed.to, entry.fileName);
  const { openStore } = await import("../stores/registry.ts");
  const target = await openStore(pathToFileURL(`${directory}/`).href, { note: (message) => reporter.note(message) });
  session.leaves(`${entry.fileName} in ${directory}, if it is there, is not proved`);
  const { sizeBytes } = await download(entry, { source, target }, { reporter, signal: io.signal });
  print(shownDownload(entry, { directory, sizeBytes }));
  return outcomes.ok.code;
}

/** What was copied, and proved. */
export function shownDownload(
  { name, fileName, partial }: Pick<CatalogEntry, "name" | "fileName" | "partial">,
  { directory, sizeBytes }: { readonly directory: string; readonly sizeBytes: number },
): Shown {
  return {
    document: { name, fileName, location: directory, sizeBytes, complete: !partial, verified: true },
    names: [name],
    table: () => `downloaded ${directory}/${fileName} (${sizeText(sizeBytes)}), whole\n`,
  };
}

/** Under another name a snapshot is refused by everything that reads it, so that name is not given. */
function directoryOf(to: string, fileName: string): string {
  if (!to.endsWith(".tar.gz")) return resolve(to);
  if (basename(to) === fileName) return dirname(resolve(to));
  throw new UserError("usage", `a snapshot keeps its name, which is "${fileName}", not "${basename(to)}"`, {
    hints: [`--to ${dirname(to)}`],
  });
}
