import type { JsonValue } from "../../src/base/json.ts";
import type { Manifest } from "../../src/snapshot/toc.ts";
import type { Random } from "./sweep.ts";

/** Keys whose values nothing in a file contradicts: facts told by drivers and clocks. Another value is another, right
 *  snapshot; only a signature could tell it from the one that was written, and version 1 has none. */
const freeFacts = new Set(["finishedAt", "clusterVersion", "serverVersion", "counts", "warnings", "facts", "by"]);

type Path = readonly (string | number)[];

/** The table of contents with one value that contradicts the file, or is of no right type, or missing. */
export function changeTable(manifest: Manifest, random: Random): JsonValue {
  const table = JSON.parse(JSON.stringify(manifest)) as JsonValue; // what is written is JSON
  for (;;) {
    const path = random.pick(pathsOf(table, []));
    const changed = withChange(table, path, random);
    if (changed !== undefined) return changed;
  }
}

function pathsOf(value: JsonValue, path: Path): Path[] {
  const key = path.at(-1);
  if (typeof key === "string" && freeFacts.has(key)) return [];
  // When an instance's dump began; the run's own beginning stands in the name.
  if (key === "startedAt" && path.length > 1) return [];
  const here = path.length === 0 ? [] : [path];
  if (typeof value !== "object" || value === null) return here;
  const inner = Array.isArray(value) ? value.map((each, index) => [index, each] as const) : Object.entries(value);
  return [...here, ...inner.flatMap(([name, each]) => pathsOf(each as JsonValue, [...path, name]))];
}

/** @returns undefined when the change would change nothing. */
function withChange(table: JsonValue, path: Path, random: Random): JsonValue | undefined {
  const copy = structuredClone(table);
  let parent = copy as Record<string | number, JsonValue>;
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<string | number, JsonValue>;
  const key = path.at(-1) ?? "";
  const before = JSON.stringify(parent[key]);
  const after = otherValue(parent[key] ?? null, random);
  if (after !== undefined) parent[key] = after;
  else if (Array.isArray(parent)) parent.splice(Number(key), 1);
  else delete parent[key];
  return after !== undefined && JSON.stringify(after) === before ? undefined : copy;
}

/** @returns undefined for: leave it out. */
function otherValue(value: JsonValue, random: Random): JsonValue | undefined {
  const ofOtherType = () => random.pick<JsonValue>([null, "", "x", -1, 1.5, 1e300, true, {}, [[]]].filter(isOther));
  const isOther = (each: JsonValue) => typeof each !== typeof value || each === null;
  if (random.next() < 0.15) return ofOtherType();
  if (random.next() < 0.1) return undefined;
  if (typeof value === "number") {
    const others = [value + 1, value - 1, value * 2 + 1, -value - 1, value + 0.5, 0, 2 ** 53, 4096, 1e21];
    return random.pick(others.filter((each) => each !== value));
  }
  if (typeof value === "boolean") return !value;
  if (typeof value === "string") return otherText(value, random);
  if (Array.isArray(value)) return otherList(value, random);
  return ofOtherType();
}

function otherText(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  return random.pick([
    () => text.slice(0, at) + random.pick([..."0123456789abcdefxyzAF./~%-"]) + text.slice(at + 1),
    () => text.slice(0, at) + random.pick(["/", "..", "\u0000", "\n", "%2e", "é", "\u202e"]) + text.slice(at),
    () => text.slice(0, Math.max(0, at - 1)),
    () => text.toUpperCase(),
    () => "",
    () => `${text}${text}`,
  ])();
}

function otherList(list: readonly JsonValue[], random: Random): JsonValue {
  if (list.length === 0) return ["encryption"];
  const at = random.below(list.length);
  return random.next() < 0.5 ? list.toSpliced(at, 1) : list.toSpliced(at, 0, list[at] ?? null);
}
