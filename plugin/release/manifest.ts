/** The manifest by which krew installs the program. Its template is krew-manifest.yaml at the top. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../program.ts";
import { archiveName, type Target } from "./targets.ts";

export interface Archived {
  readonly target: Target;
  /** Of the archive; 64 lower-case hexadecimal digits. */
  readonly sha256: string;
}

/** @param repository where releases are kept: "https://github.com/OWNER/NAME". */
export function manifestText(version: string, repository: string, archives: readonly Archived[]): string {
  const platforms = archives.map(({ target, sha256 }) => [
    "- selector:",
    "    matchLabels:",
    `      os: ${target.os}`,
    `      arch: ${target.arch}`,
    `  uri: ${repository}/releases/download/v${version}/${archiveName(target, version)}`,
    `  sha256: "${sha256}"`, // in quotes, lest it be a number
    `  bin: ${target.program}`,
  ]);
  return readFileSync(join(root, "krew-manifest.yaml"), "utf8")
    .replaceAll(/^#.*\n/gm, "")
    .replace("{{version}}", version)
    .replace("{{homepage}}", repository)
    .replace(
      ' "{{platforms}}"',
      platforms
        .flat()
        .map((line) => `\n    ${line}`)
        .join(""),
    );
}
