/** bun's executables for other machines. npm does not install packages of a foreign system, so that their tarballs are taken
 *  from the registry (or npm's cache) one by one, and are believed only when they are what package-lock.json names. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { extract } from "tar";
import packageLock from "../../package-lock.json" with { type: "json" };
import { root } from "../program.ts";
import type { Target } from "./targets.ts";

/** Path of bun's executable for a target. The tarball is kept in node_modules/.cache. */
export async function runtimeFor({ platform, os }: Target): Promise<string> {
  const name = `@oven/bun-${platform}`;
  const { version, integrity } = packageLock.packages[`node_modules/@oven/bun-${platform}`];
  const folder = join(root, "node_modules/.cache/kaa-backup", `bun-${platform}-${version}`);
  const tarball = join(folder, `oven-bun-${platform}-${version}.tgz`);
  mkdirSync(folder, { recursive: true });
  if (!isIntact(tarball, integrity)) {
    const args = ["pack", `${name}@${version}`, "--silent", "--prefer-offline", "--pack-destination", folder];
    execFileSync("npm", args, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
    if (!isIntact(tarball, integrity)) throw new Error(`${name}@${version} is not what package-lock.json names`);
  }
  await extract({ file: tarball, cwd: folder, strip: 1 });
  return join(folder, os === "windows" ? "bin/bun.exe" : "bin/bun");
}

/** @param integrity as in package-lock.json: "sha512-" and the hash in base64. */
function isIntact(file: string, integrity: string): boolean {
  if (!existsSync(file)) return false;
  return `sha512-${createHash("sha512").update(readFileSync(file)).digest("base64")}` === integrity;
}
