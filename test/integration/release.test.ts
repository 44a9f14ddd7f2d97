/** A release, made as people make it, and looked into without trusting what made it. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { list, type ReadEntry } from "tar";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { signAdHoc } from "../../plugin/release/sign.ts";
import { archiveName, type Target, targets } from "../../plugin/release/targets.ts";
import { readExecutable, readMachSignature } from "../plugin/executable.ts";
import { faultsOf, parseManifest } from "../plugin/krew.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { version } = JSON.parse(readFileSync(`${root}/package.json`, "utf8"));
const builtAt = new Date("2026-02-12T15:28:37Z");
// Without git, so that what is made does not depend on what is committed yet.
const env = { ...process.env, SOURCE_DATE_EPOCH: `${builtAt.getTime() / 1000}`, GIT_DIR: "/nowhere" };
const scratch = mkdtempSync(join(tmpdir(), "kaa-release-"));
const made = join(root, "dist/release");

function release(folder: string, ...args: string[]): void {
  execFileSync(process.execPath, ["plugin/release.ts", "--snapshot", ...args], { cwd: folder, env, stdio: "pipe" });
}

beforeAll(() => release(root), 600_000);
afterAll(() => rmSync(scratch, { recursive: true }));

function sha256(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

interface Packed {
  readonly entry: ReadEntry;
  readonly bytes: Buffer;
}

async function unpack(target: Target): Promise<ReadonlyMap<string, Packed>> {
  const files = new Map<string, Packed>();
  await list({
    file: join(made, archiveName(target, version)),
    strict: true,
    onReadEntry(entry) {
      const chunks: Buffer[] = [];
      entry.on("data", (chunk: Buffer) => chunks.push(chunk));
      entry.on("end", () => files.set(entry.path, { entry, bytes: Buffer.concat(chunks) }));
    },
  });
  return files;
}

describe.each(targets)("the archive for $os $arch", (target) => {
  test("holds the program for that machine, executable, with the licences, as nobody's and of the time of the commit", async () => {
    const files = await unpack(target);
    expect([...files.keys()]).toEqual(["LICENSE", "THIRD-PARTY-NOTICES", target.program]);
    for (const [name, { entry }] of files) {
      expect(entry.mtime).toEqual(builtAt);
      expect([entry.uid ?? 0, entry.gid ?? 0, entry.uname ?? "", entry.gname ?? ""]).toEqual([0, 0, "", ""]);
      expect(entry.mode).toBe(name === target.program ? 0o755 : 0o644);
    }
    const program = files.get(target.program)!.bytes;
    expect(readExecutable(program)).toEqual({ os: target.os, arch: target.arch });
    expect(program.includes(root), "a path of the building machine is in the program").toBe(false);
    expect(files.get("LICENSE")!.bytes).toEqual(readFileSync(`${root}/LICENSE`));
    const notices = files.get("THIRD-PARTY-NOTICES")!.bytes.toString("utf8");
    for (const name of ["bun", "@kubernetes/client-node", "@aws-sdk/client-s3", "yargs"])
      expect(notices).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+ \\(`, "m"));
  });

  test("is small enough to be fetched: 65 MB", () => {
    expect(readFileSync(join(made, archiveName(target, version))).length).toBeLessThanOrEqual(65_000_000);
  });
});

describe.each(targets.filter(({ os }) => os === "darwin"))("the program for $os $arch", (target) => {
  test("is signed ad hoc: every page of the file, to the last, is as its signature says", async () => {
    const program = (await unpack(target)).get(target.program)!.bytes;
    const signature = readMachSignature(program);
    expect(signature).toMatchObject({ isAdHoc: true, wrongPages: [], uncoveredBytes: 0 });
    expect(signature!.pages).toBeGreaterThan(20_000);
    const page = 4096 * 9000;
    program[page] = 1 ^ program[page]!;
    expect(readMachSignature(program)).toMatchObject({ wrongPages: [9000] });
  });

  test("can be signed again, which changes the signature and what says where it is", async () => {
    const program = (await unpack(target)).get(target.program)!.bytes;
    const again = signAdHoc(program);
    expect(readMachSignature(again)).toMatchObject({ isAdHoc: true, wrongPages: [], uncoveredBytes: 0 });
    const codeBytes = Math.min(program.length, again.length) - 1_000_000;
    expect(again.subarray(4096, codeBytes).equals(program.subarray(4096, codeBytes))).toBe(true);
  });
});

test("checksums.txt tells the SHA-256 of everything beside it", () => {
  const lines = readFileSync(join(made, "checksums.txt"), "utf8").trim().split("\n");
  const named = lines.map((line) => line.split("  ")) as [string, string][];
  expect(named.map(([, name]) => name).sort()).toEqual(
    readdirSync(made)
      .filter((name) => name !== "checksums.txt")
      .sort(),
  );
  for (const [sum, name] of named) expect(sum).toBe(sha256(join(made, name)));
});

test("the manifest names the archives that were made, and krew finds no fault with it", () => {
  const manifest = parseManifest(readFileSync(join(made, "krew-manifest.yaml"), "utf8"));
  expect(faultsOf(manifest)).toEqual([]);
  expect(manifest.spec?.version).toBe(`v${version}`);
  expect(manifest.spec?.platforms?.map(({ sha256 }) => sha256)).toEqual(
    targets.map((target) => sha256(join(made, archiveName(target, version)))),
  );
});

test("the bill of materials lists what is bundled, and bun, and nothing of this day", () => {
  const bom = JSON.parse(readFileSync(join(made, `kubectl-kaa_backup_v${version}.cdx.json`), "utf8"));
  expect(bom).toMatchObject({ bomFormat: "CycloneDX", specVersion: "1.5" });
  expect(bom.metadata).toMatchObject({
    timestamp: "2026-02-12T15:28:37Z",
    component: { type: "application", name: "kubectl-kaa-backup", version },
  });
  const names = bom.components.map(({ name }: { name: string }) => name);
  expect(names).toEqual(expect.arrayContaining(["bun", "@kubernetes/client-node", "@aws-sdk/client-s3", "yargs"]));
  expect(names).not.toContain("vitest");
  const refs = bom.components.map((each: { "bom-ref": string }) => each["bom-ref"]);
  for (const { ref, dependsOn } of bom.dependencies)
    for (const each of [ref, ...dependsOn]) expect([...refs, bom.metadata.component["bom-ref"]]).toContain(each);
});

test("the same sources in another folder give the same bytes", () => {
  for (const name of ["LICENSE", "krew-manifest.yaml", "package.json", "package-lock.json", "plugin", "src"])
    cpSync(join(root, name), join(scratch, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(scratch, "node_modules"));
  const some = targets.filter(({ platform }) => platform === "linux-x64" || platform === "darwin-x64");
  release(scratch, ...some.map(({ os, arch }) => `${os}-${arch}`));
  for (const name of some.map((target) => archiveName(target, version)))
    expect(sha256(join(scratch, "dist/release", name)), name).toBe(sha256(join(made, name)));
}, 600_000);

test("a release that is no snapshot is made of its tag alone", () => {
  const ran = () => execFileSync(process.execPath, ["plugin/release.ts"], { cwd: root, env, stdio: "pipe" });
  expect(ran).toThrow(`the tag v${version} does not name what lies here`);
});
