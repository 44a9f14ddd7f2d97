/** What users do first: krew installs an archive, and kubectl finds the program. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { archiveName, type Target, targets } from "../../plugin/release/targets.ts";
import { bedEnvironment, type Ran, root, run } from "./bed.ts";

const { version } = packageJson;
const made = join(root, "dist/release");
const scratch = mkdtempSync(join(tmpdir(), "kaa-krew-"));

beforeAll(async () => {
  const ran = await run(process.execPath, ["plugin/release.ts", "--snapshot"], { cwd: root });
  expect(ran.code, ran.stderr).toBe(0);
});
afterAll(() => rmSync(scratch, { recursive: true }));

/** The place of krew's files on a machine of the target's kind. */
function folderOf({ os, arch }: Target): string {
  return join(scratch, `${os}-${arch}`);
}

function environmentOf(target: Target, folder = folderOf(target)): Record<string, string> {
  return {
    KREW_ROOT: folder,
    KREW_OS: target.os,
    KREW_ARCH: target.arch,
    KREW_NO_UPGRADE_CHECK: "1",
    PATH: `${folder}/bin:${bedEnvironment()["PATH"]}`,
  };
}

function install(archive: string, env: Record<string, string>): Promise<Ran> {
  const args = ["krew", "install", `--manifest=${made}/krew-manifest.yaml`, `--archive=${archive}`];
  return run("kubectl", args, { env });
}

describe.each(targets)("krew on $os $arch", (target) => {
  test("installs the archive: the program is linked as kubectl looks for it, its licence beside it", async () => {
    const installed = await install(join(made, archiveName(target, version)), environmentOf(target));
    expect(installed.code, installed.stderr).toBe(0);
    const folder = folderOf(target);
    expect(readdirSync(join(folder, "bin"))).toEqual([target.program]);
    expect(readdirSync(join(folder, `store/kaa-backup/v${version}`)).sort()).toEqual(
      ["LICENSE", "THIRD-PARTY-NOTICES", target.program].sort(),
    );
  });
});

describe("what krew installed, called through kubectl", () => {
  const here = targets[0];
  const plugin = (...args: string[]) => run("kubectl", ["kaa-backup", ...args], { env: environmentOf(here) });

  test("tells its version", async () => {
    expect(await plugin("--version")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`${version} (commit `),
    });
  });

  test("creates a snapshot and lists it", async () => {
    const where = ["-n", "production-kaa", "--local", "--dir", join(scratch, "backup")];
    const created = await plugin("create", ...where, "--storage", "postgresql", "-o", "name");
    expect(created.code, created.stderr).toBe(0);
    expect(await plugin("list", ...where, "-o", "name")).toMatchObject({ code: 0, stdout: created.stdout });
  });

  test("helps in kubectl's words, and keeps its exit codes", async () => {
    expect((await plugin("--help")).stdout).toContain("kubectl kaa-backup <command>");
    expect(await plugin("creat")).toMatchObject({ code: 2 });
  });
});

test("krew refuses an archive that is not the one of the manifest", async () => {
  const other = join(scratch, "other.tar.gz");
  writeFileSync(other, "something else");
  const refused = await install(other, environmentOf(targets[0], join(scratch, "empty")));
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain("checksum does not match");
});
