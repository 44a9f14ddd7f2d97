/** Builds the program for this machine: one file in dist/, named as kubectl looks for it. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
mkdirSync(`${root}/dist`, { recursive: true });
execFileSync(
  `${root}/node_modules/.bin/bun`,
  [
    "build",
    "--compile",
    "--minify",
    "--bytecode",
    "--format=esm",
    // A program that holds credentials must not read whatever lies in the folder it is called from.
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    "plugin/kubectl-kaa_backup.ts",
    "--outfile",
    "dist/kubectl-kaa_backup",
  ],
  { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
);
