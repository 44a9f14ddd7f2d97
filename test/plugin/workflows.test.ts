import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadYaml } from "@kubernetes/client-node";
import { describe, expect, test } from "vitest";
import { targets } from "../../plugin/release/targets.ts";

const folder = fileURLToPath(new URL("../../.github/workflows/", import.meta.url));
const packageJson = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
const read = (name: string) => readFileSync(`${folder}${name}`, "utf8");

describe.each(readdirSync(folder))("%s", (name) => {
  const text = read(name);

  test("pins actions by version, and knows no secret but the workflow's own token", () => {
    expect(Object.keys(loadYaml<{ jobs: object }>(text).jobs).length).toBeGreaterThan(0);
    for (const [, action] of text.matchAll(/uses: (.*)/g)) expect(action).toMatch(/@v\d+\.\d+\.\d+$|^\.\//);
    for (const [, secret] of text.matchAll(/secrets\.(\w+)/g)) expect(secret).toBe("GITHUB_TOKEN");
  });

  test("calls scripts that are there", () => {
    for (const [, script] of text.matchAll(/npm (?:run )?(?!ci\b|run\b)([\w:-]+)/g))
      expect(packageJson.scripts).toHaveProperty([script ?? ""]);
  });
});

test("a release is started on every machine that it is for", () => {
  const machines = [...read("release.yml").matchAll(/machine: (\w+),/g)].map(([, machine]) => machine);
  expect(machines).toEqual(targets.map(({ os, arch }) => `${os}_${arch}`));
  const platforms = [...read("release.yml").matchAll(/platform: ([\w/]+),/g)].map(([, platform]) => platform);
  expect(platforms).toEqual(targets.flatMap(({ os, arch }) => (os === "linux" ? [`${os}/${arch}`] : [])));
});

test("nothing is published before everything was started", () => {
  const { jobs } = loadYaml<{ jobs: Record<string, { needs?: string | string[]; steps?: { run?: string }[] }> }>(
    read("release.yml"),
  );
  const starting = Object.keys(jobs).filter((name) => name.startsWith("start"));
  const publishing = Object.entries(jobs).filter(([, { steps = [] }]) =>
    steps.some(({ run = "" }) => /gh release create|docker:\/\//.test(run)),
  );
  expect(publishing.map(([name, { needs }]) => [name, needs])).toEqual([["publish", starting]]);
});
