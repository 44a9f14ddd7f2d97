/** The program as one file: the bundle and bun in one executable, for this machine or for another. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Build } from "../src/cli/version.ts";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Writes the program to `file`. The same sources, build and name of the file give the same bytes.
 *  @param runtime bun for the machine that will run it: bun's name of that platform, and the executable. This machine's own
 *    when undefined. */
export function buildProgram(
  file: string,
  build: Build,
  runtime?: { readonly platform: string; readonly executable: string },
): void {
  bundle([
    "--compile",
    "--bytecode",
    // A program that holds credentials must not read whatever lies in the folder it is called from.
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    `--define=builtFrom=${JSON.stringify(build)}`,
    ...(runtime === undefined
      ? []
      : [`--target=bun-${runtime.platform}`, `--compile-executable-path=${runtime.executable}`]),
    "--outfile",
    file,
  ]);
}

/** Folders in node_modules, from the root, of the packages that the program holds. Sorted. */
export function bundledPackages(): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), "kaa-bundle-"));
  try {
    bundle(["--target=bun", `--metafile=${folder}/meta.json`, "--outfile", `${folder}/bundle.js`]);
    const { inputs } = JSON.parse(readFileSync(`${folder}/meta.json`, "utf8")) as { inputs: Record<string, unknown> }; // as esbuild's
    const packages = Object.keys(inputs).flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
    return [...new Set(packages)].sort();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function bundle(flags: readonly string[]): void {
  const args = ["build", "--minify", "--format=esm", "plugin/kubectl-kaa_backup.ts", ...flags];
  execFileSync(join(root, "node_modules/.bin/bun"), args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
}

/** The commit that lies in the working tree, and its date, over which SOURCE_DATE_EPOCH goes. Sources without git, from an
 *  archive, are of an unknown commit. Source: https://reproducible-builds.org/specs/source-date-epoch/ */
export function sourceBuild(environment: Readonly<Record<string, string | undefined>>): Build {
  const commit = git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty") ?? "unknown";
  const seconds = Number(environment["SOURCE_DATE_EPOCH"] ?? git("log", "-1", "--format=%ct") ?? 0);
  return { commit, date: new Date(seconds * 1000).toISOString().replace(".000Z", "Z") };
}

/** What git prints; undefined without git, or when it refuses. */
export function git(...args: readonly string[]): string | undefined {
  const ran = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  return ran.status === 0 ? ran.stdout.trim() : undefined;
}
