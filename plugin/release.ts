/** Makes a release in dist/release: an archive for each machine, checksums, a bill of materials, krew's manifest.
 *    npm run release                           of the commit with the tag v<version>, nothing changed
 *    npm run release -- --snapshot             of what lies here
 *    npm run release -- --snapshot linux-arm64 only that
 *  Needs the npm registry for bun's executables, until npm has them in its cache, and no other network. */
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import packageJson from "../package.json" with { type: "json" };
import packageLock from "../package-lock.json" with { type: "json" };
import { buildProgram, bundledPackages, git, root, sourceBuild } from "./program.ts";
import { packArchive } from "./release/archive.ts";
import { type Archived, manifestText } from "./release/manifest.ts";
import { noticesText } from "./release/notices.ts";
import { runtimeFor } from "./release/runtimes.ts";
import { sbomText } from "./release/sbom.ts";
import { signAdHoc } from "./release/sign.ts";
import { archiveName, type Target, targets } from "./release/targets.ts";

const { version } = packageJson;
const bunVersion = packageLock.packages["node_modules/bun"].version;
const repository = process.env["GITHUB_REPOSITORY"]
  ? `${process.env["GITHUB_SERVER_URL"] ?? "https://github.com"}/${process.env["GITHUB_REPOSITORY"]}`
  : packageJson.repository;
const { values: options, positionals: wanted } = parseArgs({
  options: { snapshot: { type: "boolean", default: false } },
  allowPositionals: true,
});
const selected = targets.filter(({ os, arch }) => wanted.length === 0 || wanted.includes(`${os}-${arch}`));
if (selected.length < wanted.length)
  throw new Error(`machines are ${targets.map(({ os, arch }) => `${os}-${arch}`).join(", ")}`);

const build = sourceBuild(process.env);
if (!options.snapshot) {
  if (build.commit !== git("rev-parse", `v${version}^{commit}`))
    throw new Error(
      `the tag v${version} does not name what lies here, commit ${build.commit}; or call with --snapshot`,
    );
}

const folder = join(root, "dist/release");
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const notices = noticesText(bundledPackages(), bunVersion);
const archives: Archived[] = [];
const sums: string[] = [];
for (const target of selected) archives.push(await makeArchive(target));
writeSummed(`kubectl-kaa_backup_v${version}.cdx.json`, sbomText(build, bunVersion));
writeSummed("krew-manifest.yaml", manifestText(version, repository, archives));
writeFileSync(join(folder, "checksums.txt"), sums.join(""));
process.stdout.write(`${folder}\n${sums.join("")}`);

async function makeArchive(target: Target): Promise<Archived> {
  const content = join(folder, `${target.os}-${target.arch}`);
  mkdirSync(content);
  const program = join(content, target.program);
  buildProgram(program, build, { platform: target.platform, executable: await runtimeFor(target) });
  if (target.platform === "darwin-x64") writeFileSync(program, signAdHoc(readFileSync(program)));
  copyFileSync(join(root, "LICENSE"), join(content, "LICENSE"));
  writeFileSync(join(content, "THIRD-PARTY-NOTICES"), notices);
  const names = ["LICENSE", "THIRD-PARTY-NOTICES", target.program];
  for (const name of names) chmodSync(join(content, name), name === target.program ? 0o755 : 0o644);
  const name = archiveName(target, version);
  await packArchive(join(folder, name), { folder: content, names, date: new Date(build.date) });
  rmSync(content, { recursive: true });
  return { target, sha256: sum(name) };
}

function writeSummed(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
  sum(name);
}

/** Takes a file into checksums.txt. */
function sum(name: string): string {
  const sha256 = createHash("sha256")
    .update(readFileSync(join(folder, name)))
    .digest("hex");
  sums.push(`${sha256}  ${name}\n`);
  return sha256;
}
