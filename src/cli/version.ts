import packageJson from "../../package.json" with { type: "json" };

/** The one truth about the version; snapshots keep it. */
export const tool = { name: packageJson.name, version: packageJson.version } as const;

export const homepage = packageJson.repository;

/** Compiled in by plugin/program.ts; sources that run as they are have none. */
declare const builtFrom: Build | undefined;

export interface Build {
  /** The whole hash, "-dirty" behind it when files differed from that commit; or "unknown". */
  readonly commit: string;
  /** The commit's own date, ISO 8601 in UTC: building it again gives the same program. */
  readonly date: string;
}

/** What this program was built from; undefined when its sources run. */
export const build: Build | undefined = typeof builtFrom === "undefined" ? undefined : builtFrom;

/** One line for people: `0.1.0 (commit 1234567, 2026-11-25)`. */
export function versionText(): string {
  if (build === undefined) return `${tool.version} (run from its sources)`;
  const [hash = "", ...marks] = build.commit.split("-");
  return `${tool.version} (commit ${[hash.slice(0, 7), ...marks].join("-")}, ${build.date.slice(0, 10)})`;
}
