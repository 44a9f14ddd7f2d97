/** Builds the program for this machine: one file in dist/, named as kubectl looks for it. */
import { mkdirSync } from "node:fs";
import { buildProgram, root, sourceBuild } from "./program.ts";

mkdirSync(`${root}/dist`, { recursive: true });
buildProgram("dist/kubectl-kaa_backup", sourceBuild(process.env));
