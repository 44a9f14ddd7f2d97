/** The driver's record in the manifest. */
import { UserError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { field } from "../commands.ts";
import { type Engine, engineOf, type MadeIndex } from "./versions.ts";

export interface Facts {
  readonly snapshot: string;
  readonly basePath: string;
  readonly indices: readonly string[];
  /** Those of `indices` that were closed. None in snapshots of versions that did not take closed indices. */
  readonly closed: readonly string[];
  /** What took the snapshot, and which of its indices is the oldest. Not in snapshots of earlier versions. */
  readonly engine: Engine | undefined;
  readonly oldest: MadeIndex | undefined;
}

/** @throws UserError `invalid-snapshot` for anything that would mean something else to the engine. */
export function readFacts(facts: JsonValue): Facts {
  const [snapshot, basePath, indices] = [field(facts, "snapshot"), field(facts, "basePath"), field(facts, "indices")];
  const closed = field(facts, "closed") ?? [];
  if (!isName(snapshot, /^kaa-[\d-]+$/) || !isName(basePath, /^opendistro(\/\w[\w.-]*)*$/)) throw damaged();
  if (!areIndices(indices) || !areIndices(closed)) throw damaged();
  const [engine, oldest] = [readEngine(field(facts, "engine")), field(facts, "oldest")];
  const made = readEngine(oldest);
  return {
    ...{ snapshot, basePath, indices, closed, engine },
    oldest: made && { ...made, index: String(field(oldest, "index")) },
  };
}

function readEngine(fact: unknown): Engine | undefined {
  if (fact === undefined) return undefined;
  const [version, distribution] = [field(fact, "version"), field(fact, "distribution")];
  if (typeof version !== "string" || typeof distribution !== "string") throw damaged();
  return engineOf(version, distribution);
}

function isName(text: unknown, form: RegExp): text is string {
  return typeof text === "string" && form.test(text);
}

/** Names of indices hold no comma, star or blank, by the engine's own rules; here they would mean other indices. */
function areIndices(names: unknown): names is readonly string[] {
  return Array.isArray(names) && names.every((each: unknown) => isName(each, /^[^\s,*?"<>|\\/#+-][^\s,*?"<>|\\/#]*$/));
}

function damaged(): UserError {
  return new UserError("invalid-snapshot", "opendistro's record in the manifest is damaged");
}
