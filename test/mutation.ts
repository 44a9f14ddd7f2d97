/** The mutation run: `npm run mutation`, or `npm run mutation -- src/snapshot/toc.ts` for one file.
 *
 *  Twice over. vitest ends a run at its first failing test so quickly that at times nobody is told of that failure, and the
 *  mutant passes for one that no test finds; and a mutant that is set as its file is loaded is held against the tests alone that
 *  happen to load it. What survives the first run, or is left out of it, meets all its tests in the second. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

interface Place {
  readonly line: number;
  readonly column: number;
}

interface Mutant {
  readonly mutatorName: string;
  readonly replacement?: string;
  readonly location: { readonly start: Place; readonly end: Place };
  readonly status: "Killed" | "Timeout" | "Survived" | "NoCoverage" | "Ignored" | "RuntimeError" | "CompileError";
}

/** Mutation testing report schema, which Stryker's "json" reporter writes. */
interface Report {
  readonly files: Readonly<Record<string, { readonly mutants: readonly Mutant[] }>>;
}

const files = process.argv.slice(2);
const once = run(["--ignoreStatic", ...(files.length > 0 ? ["--mutate", files.join(",")] : [])]);
const isDoubtful = ({ status }: Mutant) => status === "Survived" || status === "Ignored";
const doubtful = Object.entries(once.files).flatMap(([file, { mutants }]) =>
  mutants.filter(isDoubtful).map(({ location }) => `${file}:${range(location)}`),
);
const again =
  doubtful.length > 0 ? run(["--disableBail", "--mutate", [...new Set(doubtful)].join(",")]) : { files: {} };

let [found, all] = [0, 0];
const survivors: string[] = [];
for (const [file, { mutants }] of Object.entries(once.files)) {
  const later = new Map(again.files[file]?.mutants.map((mutant) => [idOf(mutant), mutant.status]));
  let [here, foundHere] = [0, 0];
  for (const mutant of mutants) {
    const status = isDoubtful(mutant) ? (later.get(idOf(mutant)) ?? mutant.status) : mutant.status;
    here += 1;
    if (status === "Killed" || status === "Timeout") foundHere += 1;
    else survivors.push(`${file}:${mutant.location.start.line} ${mutant.mutatorName} ${mutant.replacement}: ${status}`);
  }
  console.log(`${file}: ${foundHere} of ${here}`);
  found += foundHere;
  all += here;
}
console.log(`\n${survivors.join("\n")}\n\n${found} of ${all} mutants found, ${((100 * found) / all).toFixed(1)} %`);

function run(options: readonly string[]): Report {
  const { status, error } = spawnSync("stryker", ["run", ...options], { stdio: "inherit" });
  if (status !== 0) throw new Error(`stryker ended with ${status}`, { cause: error });
  return JSON.parse(readFileSync("coverage/mutation.json", "utf8"));
}

/** As `--mutate` wants it: lines from 1, columns from 0, while the report's are from 1. */
function range({ start, end }: Mutant["location"]): string {
  return `${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`;
}

function idOf({ mutatorName, replacement, location }: Mutant): string {
  return `${range(location)} ${mutatorName} ${replacement}`;
}
