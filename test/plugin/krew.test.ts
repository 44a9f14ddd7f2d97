import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { manifestText } from "../../plugin/release/manifest.ts";
import { targets } from "../../plugin/release/targets.ts";
import { faultsOf, parseManifest } from "./krew.ts";

const archives = targets.map((target, index) => ({ target, sha256: `${index}`.repeat(64) }));
const text = manifestText("1.2.3", "https://example.org/owner/name", archives);

test("the manifest is filled by the template, and krew finds no fault with it", () => {
  const manifest = parseManifest(text);
  expect(faultsOf(manifest)).toEqual([]);
  expect(manifest.metadata?.name).toBe("kaa-backup");
  expect(manifest.spec?.version).toBe("v1.2.3");
  expect(manifest.spec?.platforms?.at(-1)).toEqual({
    selector: { matchLabels: { os: "windows", arch: "amd64" } },
    uri: "https://example.org/owner/name/releases/download/v1.2.3/kubectl-kaa_backup_v1.2.3_windows_amd64.tar.gz",
    sha256: "4".repeat(64),
    bin: "kubectl-kaa_backup.exe",
  });
  expect(text).not.toMatch(/\{\{|^#/m);
});

test("the template alone is no manifest: nobody takes it for a release", () => {
  const template = readFileSync(new URL("../../krew-manifest.yaml", import.meta.url), "utf8");
  expect(faultsOf(parseManifest(template))).toContain("version");
});

test.each([
  ["apiVersion", ["v1alpha2", "v1"]],
  ["kind", ["kind: Plugin", "kind: plugin"]],
  ["name", ["name: kaa-backup", "name: kaa.backup"]],
  ["name", ["name: kaa-backup", "name: Com1"]],
  ["shortDescription", [/shortDescription: .*/, 'shortDescription: "two\\nlines"']],
  ["version", ["v1.2.3", "1.2.3"]],
  ["version", ["v1.2.3", "v1.2"]],
  ["no platforms", [/platforms:\n[\s\S]*/, "platforms: []"]],
  ["platform 1: uri", [/uri: .*arm64.*/, "uri: ''"]],
  ["platform 0: sha256", ["0".repeat(64), "A".repeat(64)]],
  ["platform 0: bin", ["bin: kubectl-kaa_backup", "bin: ''"]],
  ["platform 0: files is empty", ["bin: kubectl-kaa_backup", "files: []\n      bin: x"]],
  ["platform 0: files", ["bin: kubectl-kaa_backup", "files: [{from: a}]\n      bin: x"]],
  ["platform 0: selector", ["os: linux", "libc: glibc"]],
  ["platform 0: matches no machine", ["arch: amd64", "arch: x86_64"]],
  ["platform 4: .exe", ["os: windows", "os: darwin"]],
  ["platforms overlap: linux/arm64", ["arch: amd64", "arch: arm64"]],
] as const)("a manifest is refused for its %s", (fault, [from, to]) => {
  expect(faultsOf(parseManifest(text.replace(from, to)))).toContain(fault);
});
