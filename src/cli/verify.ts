/** `verify`: proves snapshots to their last byte. */
import { outcomes, UserError } from "../base/errors.ts";
import type { Store } from "../stores/store.ts";
import { type Verdict, verify, verifyAll } from "../verify.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import type { Session } from "./main.ts";
import { type Print, printerFor, type Shown } from "./output.ts";
import { dateDescription, statusText, storedGroups, storeFor } from "./stored.ts";
import { sizeText, tableText } from "./text.ts";

const spec = {
  command: "verify [date]",
  describe: "Prove that every byte of a snapshot is as it was written",
  details: `Reads the whole snapshot and compares every byte with the checksums in its table of contents. Needs no cluster, changes nothing and
writes nothing down. With --all it goes through all snapshots there are, newest first, tells each, and ends with the code of the worst.`,
  positionals: { date: { type: "string", describe: dateDescription } },
  groups: { Options: { all: { type: "boolean", describe: "Every snapshot" } }, ...storedGroups },
  examples: [
    ["verify 12-02-2021-15-28-37 -n production-kaa", "in s3://storage-backup--production-kaa"],
    ["verify 12-02-2021-15-28-37 --local --dir /var/backup", "in a directory"],
    ["verify --all -n production-kaa", "everything that is kept of a namespace"],
  ],
  outcomes: ["invalid-snapshot", "not-found", "cluster", "credentials", "object-store", "local-disk"],
} as const satisfies CommandSpec;

export const verifyCommand = defineCommand(spec, verifySnapshots);

async function verifySnapshots(session: Session, parsed: ParsedOf<typeof spec>): Promise<number> {
  const { reporter, io } = session;
  const { date } = parsed;
  if ((date === undefined) === (parsed.all !== true))
    throw new UserError("usage", "verify needs a date or --all, and not both", {
      hints: ["list shows the dates"],
    });
  const print = await printerFor(io, parsed.output);
  const store = await storeFor(session, parsed);
  if (date === undefined) return await verifyEach(session, store, print);
  const { fileName, sizeBytes, manifest } = await verify(store, date, { reporter, signal: io.signal });
  print({
    document: { fileName, sizeBytes, complete: manifest.complete, verified: true },
    names: [manifest.name],
    table: () => `${fileName} is whole (${sizeText(sizeBytes)}${manifest.complete ? "" : ", Partial"})\n`,
  });
  return outcomes.ok.code;
}

async function verifyEach({ reporter, io }: Session, store: Store, print: Print): Promise<number> {
  const verdicts = await verifyAll(store, { reporter, signal: io.signal });
  print(shownVerdicts(verdicts, store.location));
  const problems = verdicts.flatMap(({ problem }) => problem ?? []);
  // Damage is worse than what nobody could look at.
  const [worst] = [...problems.filter(({ outcome }) => outcome === "invalid-snapshot"), ...problems];
  return worst?.exitCode ?? outcomes.ok.code;
}

export function shownVerdicts(verdicts: readonly Verdict[], location: string): Shown {
  const rows = verdicts.map((each) => [
    each.name,
    statusText(each),
    sizeText(each.sizeBytes),
    each.problem === undefined ? "whole" : each.problem.message,
  ]);
  return {
    document: {
      location,
      snapshots: verdicts.map(({ name, fileName, sizeBytes, partial, problem }) => ({
        name,
        fileName,
        sizeBytes,
        complete: !partial,
        verified: problem === undefined,
        ...(problem !== undefined && { outcome: problem.outcome, reason: problem.message }),
      })),
    },
    names: verdicts.filter(({ problem }) => problem === undefined).map(({ name }) => name),
    table: () => tableText([["NAME", "STATUS", "SIZE", "VERIFIED"], ...rows]),
  };
}
