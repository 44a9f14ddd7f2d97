/** Builds the container image, without a container engine: an OCI archive with an index of platforms.
 *
 *      npm run image -- [--architecture amd64,arm64] [--reference NAME:TAG] [--file dist/image.tar]
 *
 *  Needs what any Debian has (apt, dpkg, tar, gzip) and Go; nobody needs to be root. What is in it: docs/image.md. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import packageJson from "../package.json" with { type: "json" };
import packageLock from "../package-lock.json" with { type: "json" };
import { buildProgram, bundledPackages, root, sourceBuild } from "../plugin/program.ts";
import { noticesText } from "../plugin/release/notices.ts";
import { runtimeFor } from "../plugin/release/runtimes.ts";
import { targets } from "../plugin/release/targets.ts";

const here = join(root, "image");
/** As Kaa's documentation calls it: what is loaded from the archive is what its command lines run. */
const name = "dev-hub.kaaiot.net/devops/pbm/pbm";
/** The test bed's folder of built things: what is compiled for it and for the image is kept in one place. */
const cache = join(process.env["KAA_BACKUP_BED_CACHE"] ?? join(homedir(), ".cache/kaa-backup-bed"), "kubectl");
const build = sourceBuild(process.env);

const { values: options } = parseArgs({
  options: {
    architecture: { type: "string", default: "amd64,arm64" },
    reference: { type: "string", default: `${name}:${packageJson.version}` },
    file: { type: "string", default: join(root, "dist/image.tar") },
  },
});
const work = mkdtempSync(join(tmpdir(), "kaa-backup-image-"));
try {
  const images: string[] = [];
  for (const architecture of options.architecture.split(",")) {
    const layers = [baseLayer(architecture), kubectlLayer(architecture), await programLayer(architecture)];
    images.push(`linux/${architecture}=${layers.join(",")}`);
  }
  packImage(images, options.reference, resolve(options.file));
} finally {
  rmSync(work, { recursive: true });
}

/** Debian's packages, the newest that its archive has: made anew each time, for it costs ten seconds. */
function baseLayer(architecture: string): string {
  const folder = newFolder(`base-${architecture}`);
  run(join(here, "base.sh"), architecture, folder);
  return packLayer(folder);
}

/** kubectl costs minutes, and is the same as long as its sources and Go are. */
function kubectlLayer(architecture: string): string {
  const key = createHash("sha256").update(execFileSync("go", ["env", "GOVERSION"]));
  for (const name of ["kubectl/build.sh", "kubectl/go.mod", "kubectl/go.sum", "kubectl/main.go", "layer.sh"])
    key.update(readFileSync(join(here, name)));
  const kept = join(cache, `${architecture}-${key.digest("hex").slice(0, 12)}.tar.gz`);
  if (!existsSync(kept)) {
    const folder = newFolder(`kubectl-${architecture}`);
    run(join(here, "kubectl/build.sh"), architecture, folder);
    mkdirSync(cache, { recursive: true });
    const packed = `${kept}.${process.pid}`;
    copyFileSync(packLayer(folder), packed);
    renameSync(packed, kept);
  }
  return kept;
}

/** The program, under the plugin's name and that of the tool that it replaces. */
async function programLayer(architecture: string): Promise<string> {
  const target = targets.find(({ os, arch }) => os === "linux" && arch === architecture);
  if (target === undefined) throw new Error(`there is no program for linux/${architecture}`);
  const folder = newFolder(`program-${architecture}`);
  const programs = join(folder, "usr/local/bin");
  mkdirSync(programs, { recursive: true });
  buildProgram(join(programs, target.program), build, {
    platform: target.platform,
    executable: await runtimeFor(target),
  });
  symlinkSync(target.program, join(programs, "backup"));
  const licences = join(folder, "usr/share/doc", packageJson.name);
  mkdirSync(licences, { recursive: true });
  copyFileSync(join(root, "LICENSE"), join(licences, "LICENSE"));
  const bunVersion = packageLock.packages["node_modules/bun"].version;
  writeFileSync(join(licences, "THIRD-PARTY-NOTICES"), noticesText(bundledPackages(), bunVersion));
  return packLayer(folder);
}

function newFolder(name: string): string {
  const folder = join(work, name);
  mkdirSync(folder);
  return folder;
}

function packLayer(folder: string): string {
  const file = `${folder}.tar.gz`;
  run(join(here, "layer.sh"), folder, file);
  return file;
}

/** @param images PLATFORM=LAYER,LAYER… each. */
function packImage(images: readonly string[], reference: string, file: string): void {
  const labels = {
    "org.opencontainers.image.title": packageJson.name,
    "org.opencontainers.image.description": packageJson.description,
    "org.opencontainers.image.version": packageJson.version,
    "org.opencontainers.image.revision": build.commit,
    "org.opencontainers.image.created": build.date,
    "org.opencontainers.image.source": packageJson.repository,
    "org.opencontainers.image.licenses": packageJson.license,
  };
  const labelsFile = join(work, "labels.json");
  writeFileSync(labelsFile, JSON.stringify(labels));
  const layout = join(work, "layout");
  const files = ["-config", join(here, "config.json"), "-labels", labelsFile];
  const facts = ["-reference", reference, "-created", build.date];
  run("go", "run", "-C", join(here, "assemble"), ".", ...files, ...facts, layout, ...images);
  mkdirSync(dirname(file), { recursive: true });
  const alike = ["--format=gnu", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  run("tar", "-C", layout, ...alike, "--mode=u=rwX,go=rX", "-cf", file, "oci-layout", "index.json", "blobs");
}

function run(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: ["ignore", "inherit", "inherit"] });
}
