/** `delete`: shows what would go, asks, and removes it. */
import { outcomes, UserError } from "../base/errors.ts";
import type { Described } from "../catalog.ts";
import { type Removal, remove } from "../remove.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { confirmByTyping } from "./confirm.ts";
import type { Session } from "./main.ts";
import { printerFor, type Shown } from "./output.ts";
import { isClean, removingFrom, removingGroups, removingOutcomes } from "./removing.ts";
import { dateDescription, statusText } from "./stored.ts";
import { ageText, sizeText, tableText } from "./text.ts";

const spec = {
  command: "delete <dates..>",
  describe: "Remove snapshots",
  details: `Shows what would go and asks for each date to be typed; --yes does not ask. In S3 it takes the namespace's lock, so that no restore there is
reading what goes. Open uploads and other files stay.`,
  positionals: { dates: { type: "string", array: true, demandOption: true, describe: dateDescription } },
  groups: removingGroups,
  examples: [
    ["delete 12-02-2021-15-28-37 -n production-kaa", "asks for the date to be typed"],
    ["delete 12-02-2021-15-28-37 13-02-2021-00-00-00 -n production-kaa --yes", "two, without being asked"],
  ],
  outcomes: removingOutcomes,
} as const satisfies CommandSpec;

type DeleteFlags = ParsedOf<typeof spec>;

export const deleteCommand = defineCommand(spec, deleteSnapshots);

const untouched = "nothing was removed";

async function deleteSnapshots(session: Session, parsed: DeleteFlags): Promise<number> {
  const { io, reporter } = session;
  if (parsed.yes !== true && !io.isInteractive) {
    throw new UserError("refused", "deleting must be confirmed, and there is no terminal to ask", {
      effect: untouched,
      hints: ["say --yes to delete without being asked; describe shows what a snapshot holds"],
    });
  }
  const print = await printerFor(io, parsed.output);
  const { scope, store } = await removingFrom(session, parsed);
  const confirm = async (snapshots: readonly Described[]) => {
    if (parsed.yes === true) return;
    reporter.stop();
    reporter.say(`to be deleted from ${store.location}:\n${rowsOf(snapshots).trimEnd()}`);
    await confirmByTyping(
      io,
      snapshots.map(({ name }) => name),
      { question: (name) => `Type the date (${name}) to delete it: `, effect: untouched },
    );
  };
  const removals = await remove(parsed.dates, scope, store, confirm);
  print(shownRemovals(removals, store.location));
  return isClean(removals) ? outcomes.ok.code : outcomes.attention.code;
}

function rowsOf(snapshots: readonly Described[]): string {
  const now = new Date();
  const rows = snapshots.map((each) => [
    each.name,
    each.manifest === undefined ? "Unreadable" : statusText(each),
    sizeText(each.sizeBytes),
    ageText(each.startedAt, now),
    each.manifest?.namespace ?? "",
    [...new Set(each.manifest?.instances.map(({ storage }) => storage))].join(", "),
  ]);
  return tableText([["NAME", "STATUS", "SIZE", "AGE", "NAMESPACE", "STORAGES"], ...rows]);
}

/** What was removed, and what was not. */
export function shownRemovals(removals: readonly Removal[], location: string): Shown {
  return {
    document: {
      location,
      snapshots: removals.map(({ snapshot, removed, problems }) => ({
        name: snapshot.name,
        fileName: snapshot.fileName,
        sizeBytes: snapshot.sizeBytes,
        removed,
        problems,
      })),
    },
    names: removals.filter(({ removed }) => removed).map(({ snapshot }) => snapshot.name),
    table: () =>
      removals
        .map(({ snapshot, removed }) => `${removed ? "deleted" : "NOT deleted"} ${location}/${snapshot.fileName}\n`)
        .join(""),
  };
}
