/** Which snapshot, and which storages of it, asked on a terminal. Everything is drawn on stderr. Tables of contents are read
 *  for the snapshots that are on the screen and for no others, so that a thousand of them open as quickly as one. */
import type { WriteStream } from "node:tty";
import { autocomplete, isCancel, multiselect } from "@clack/prompts";
import cliTruncate from "cli-truncate";
import { UserError } from "../base/errors.ts";
import {
  type CatalogEntry,
  type Described,
  describeSnapshots,
  type InstanceContents,
  type SnapshotContents,
} from "../catalog.ts";
import type { DriverName } from "../drivers/registry.ts";
import { storedBytes, taskOf } from "../storages.ts";
import type { Store } from "../stores/store.ts";
import type { Io } from "./io.ts";
import { PromptOutput } from "./prompt-output.ts";
import { statusText } from "./stored.ts";
import { ageText, padColumns, printableLine, sizeText } from "./text.ts";

/** Columns that the prompt itself takes in front of an option, and one that stays free. */
const marginColumns = 8;

/** The caller must `close()`. */
export class Picker {
  readonly #io: Io;
  readonly #output: PromptOutput;

  constructor(io: Io, options: { readonly color: boolean }) {
    this.#io = io;
    this.#output = new PromptOutput(io.stderr as WriteStream, options.color); // asked only on a terminal
  }

  close(): void {
    this.#output.release();
  }

  /** @param entries newest first, at least one.
   *  @throws UserError `interrupted` when nothing was chosen; `invalid-snapshot` when the chosen one cannot be read. */
  async snapshot(
    entries: readonly CatalogEntry[],
    store: Store,
  ): Promise<CatalogEntry & { readonly manifest: SnapshotContents }> {
    const ended = new AbortController();
    const signal = AbortSignal.any([this.#io.signal, ended.signal]);
    const contents = new Contents(store, signal, () => this.#output.redraw());
    try {
      const rows = rowsOf(entries, new Date());
      const options = entries.map((entry, index) => ({
        value: entry.fileName,
        search: rows[index]?.toLowerCase() ?? "",
        /** Asked for what is on the screen only. */
        get label() {
          const text = `${rows[index]}  ${contentsText(contents.of(entry))}`;
          return cliTruncate(text.trimEnd(), Math.max(20, output.columns - marginColumns));
        },
      }));
      const output = this.#output;
      const fileName = await autocomplete({
        message: `Which snapshot of ${printableLine(store.location)}? ${entries.length} of them, newest first`,
        options,
        filter: (typed, option) => {
          const { search } = option as (typeof options)[number]; // one of those given
          return typed
            .toLowerCase()
            .split(/\s+/)
            .every((word) => search.includes(word));
        },
        validate: (value) => (value === undefined ? "No snapshot matches" : undefined),
        ...this.#streams,
      });
      const entry = entries.find((each) => each.fileName === fileName);
      if (isCancel(fileName) || entry === undefined) throw this.#cancelled();
      const described = await contents.read(entry);
      if (described === undefined) throw new UserError("not-found", `${entry.fileName} was deleted meanwhile`);
      if (described.problem !== undefined) throw described.problem;
      return described;
    } finally {
      ended.abort();
    }
  }

  /** All are chosen to begin with.
   *  @param possible what may be chosen; the snapshot may hold others.
   *  @throws UserError `interrupted`. */
  async storages(manifest: SnapshotContents, possible: readonly DriverName[]): Promise<readonly DriverName[]> {
    const held = possible.filter((name) => manifest.instances.some(({ storage }) => storage === name));
    const missing = manifest.failures.map(taskOf);
    const partial = missing.length === 0 ? "" : ` It is PARTIAL, without ${missing.join(", ")}`;
    const chosen = await multiselect({
      message: `Restore which storages of ${manifest.name}?${printableLine(partial)}`,
      options: held.map((value) => ({
        value,
        hint: hintOf(manifest.instances.filter((each) => each.storage === value)),
      })),
      initialValues: [...held],
      required: true,
      ...this.#streams,
    });
    if (isCancel(chosen)) throw this.#cancelled();
    return chosen;
  }

  get #streams() {
    const { stdin, signal } = this.#io;
    return { input: stdin as NodeJS.ReadStream, output: this.#output, signal };
  }

  #cancelled(): unknown {
    const { aborted, reason } = this.#io.signal;
    return aborted ? reason : new UserError("interrupted", "nothing was chosen", { effect: "nothing was changed" });
  }
}

/** Date, local time, age, size and status, in columns. */
function rowsOf(entries: readonly CatalogEntry[], now: Date): readonly string[] {
  const cells = entries.map((entry) => [
    `${entry.name} UTC`,
    localText(entry.startedAt),
    ageText(entry.startedAt, now),
    sizeText(entry.sizeBytes),
    statusText(entry),
  ]);
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  return cells.map((row) =>
    row
      .map((cell, column) => padColumns(cell, widths[column] ?? 0))
      .filter((cell) => cell !== "")
      .join("  "),
  );
}

/** "Wed 25 Nov, 11:08 CET"; nothing where that is UTC, too. */
function localText(date: Date): string {
  if (date.getTimezoneOffset() === 0) return "";
  return date
    .toLocaleString("en-GB", {
      weekday: "short",
      day: "numeric",
      month: "short",
      hour: "2-digit",
      minute: "2-digit",
      timeZoneName: "short",
    })
    .replace(/,(?= \d\d? )/, "");
}

function contentsText(contents: Described | "unknown" | undefined): string {
  if (contents === undefined) return "deleted";
  if (contents === "unknown") return "…";
  if (contents.problem !== undefined) return "UNREADABLE";
  return printableLine([...new Set(contents.manifest.instances.map(({ storage }) => storage))].join(", "));
}

function hintOf(entries: readonly InstanceContents[]): string {
  const parts = entries.map((each) => `${each.instance} ${each.serverVersion}, ${sizeText(storedBytes(each))}`);
  return printableLine(parts.join("; "));
}

/** Tables of contents, read when they are first asked for. */
class Contents {
  readonly #store: Store;
  readonly #signal: AbortSignal;
  readonly #changed: () => void;
  readonly #known = new Map<string, Described | "unknown" | undefined>();
  /** Still to be read; what was asked for last is on the screen now, and comes first. */
  readonly #wanted: CatalogEntry[] = [];
  #reading = 0;

  constructor(store: Store, signal: AbortSignal, changed: () => void) {
    this.#store = store;
    this.#signal = signal;
    this.#changed = changed;
  }

  /** What is known now; "unknown" starts reading. */
  of(entry: CatalogEntry): Described | "unknown" | undefined {
    if (!this.#known.has(entry.fileName)) {
      this.#known.set(entry.fileName, "unknown");
      this.#wanted.push(entry);
      void this.#work(); // never rejects
    }
    return this.#known.get(entry.fileName);
  }

  async read(entry: CatalogEntry): Promise<Described | undefined> {
    const known = this.#known.get(entry.fileName);
    if (known !== undefined && known !== "unknown") return known;
    const [described] = await describeSnapshots(this.#store, [entry], this.#signal);
    return described;
  }

  async #work(): Promise<void> {
    if (this.#reading >= readsAtOnce) return;
    this.#reading += 1;
    for (let next = this.#wanted.pop(); next !== undefined; next = this.#wanted.pop()) {
      const { fileName } = next;
      try {
        this.#known.set(fileName, await this.read(next));
      } catch {
        // The store does not answer, or the question is over. The list stays useful; whoever chooses it gets the error.
        if (this.#signal.aborted) break;
      }
      this.#changed();
    }
    this.#reading -= 1;
  }
}

const readsAtOnce = 4;
