/** Who may import whom, and which names stay where they belong. CONTRIBUTING.md says why. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { driverNames } from "../src/drivers/registry.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const sources = ["src", "plugin"]
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
  )
  .filter((path) => path.endsWith(".ts"));

const allowed: Readonly<Record<string, readonly RegExp[]>> = {
  base: [/^src\/base\//],
  cluster: [/^src\/(base|cluster)\//],
  drivers: [
    /^src\/base\//,
    /^src\/cluster\/cluster\.ts$/,
    /^src\/drivers\/(driver|commands|find|http|registry|tar)\.ts$/,
  ],
  snapshot: [/^src\/(base|snapshot)\//],
  stores: [/^src\/(base|stores)\//],
  "": [
    /^src\/(base|snapshot)\//,
    /^src\/cluster\/cluster\.ts$/,
    /^src\/drivers\/(driver|find|registry)\.ts$/,
    /^src\/stores\/store\.ts$/,
    /^src\/[^/]+\.ts$/,
  ],
  cli: [/^src\//, /^package\.json$/],
  plugin: [/^src\/(cli\/|base\/errors\.ts)/, /^plugin\//, /^package(-lock)?\.json$/],
};
const packages: Readonly<Record<string, RegExp>> = {
  "@kubernetes/client-node": /^src\/cluster\//,
  ws: /^src\/cluster\//,
  "@aws-sdk/client-s3": /^src\/(stores\/s3|drivers\/minio)/,
  bson: /^src\/drivers\/mongodb/,
  "json-p3": /^src\/cli\/jsonpath\.ts/,
  yaml: /^src\/(cli\/|cluster\/kubeconfig)/,
  yargs: /^src\/cli\//,
  ora: /^src\/cli\//,
  tar: /^plugin\/release\//,
  chalk: /^src\/cli\//,
  croner: /^src\/schedule\.ts$/,
  cronstrue: /^src\/schedule\.ts$/,
  "prom-client": /^src\/cli\//,
  "cli-truncate": /^src\/cli\//,
  "string-width": /^src\/cli\//,
  "@clack/prompts": /^src\/cli\//,
};

function importsOf(path: string): readonly string[] {
  const text = readFileSync(join(root, path), "utf8");
  return [...text.matchAll(/^(?:import|export)\b[^"]*? from "([^"]+)"|^import "([^"]+)"|\bimport\("([^"]+)"\)/gm)].map(
    ([, named, bare, lazy]) => named ?? bare ?? lazy ?? "",
  );
}

function folderOf(path: string): string {
  const [top = "", second = ""] = path.split("/");
  return top === "plugin" ? "plugin" : second.endsWith(".ts") ? "" : second;
}

function ownParts(path: string, imported: string): boolean {
  // drivers/postgresql.ts and drivers/postgresql/* are one driver
  const name = (each: string) => /^src\/drivers\/([a-z]+)(\/|\.ts$)/.exec(each)?.[1];
  return name(path) !== undefined && name(path) === name(imported);
}

describe.each(sources)("%s", (path) => {
  test("imports only what its folder may", () => {
    for (const specifier of importsOf(path)) {
      if (specifier.startsWith("node:")) continue;
      if (specifier.startsWith(".")) {
        const imported = relative(root, resolve(root, dirname(path), specifier));
        const isRegistry = path === "src/drivers/registry.ts" && dirname(imported) === "src/drivers";
        const isStoreRegistry = path === "src/stores/registry.ts";
        const isAllowed = (allowed[folderOf(path)] ?? []).some((each) => each.test(imported));
        expect(
          isAllowed || isRegistry || isStoreRegistry || ownParts(path, imported),
          `${path} imports ${imported}`,
        ).toBe(true);
      } else {
        const [name] = Object.keys(packages).filter((each) => specifier === each || specifier.startsWith(`${each}/`));
        expect(name !== undefined && packages[name]?.test(path), `${path} imports ${specifier}`).toBe(true);
      }
    }
  });

  test("names no storage outside drivers, and exits nowhere but in plugin", () => {
    const text = readFileSync(join(root, path), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
    if (folderOf(path) !== "drivers") {
      for (const name of driverNames)
        expect(text, `${path} names ${name}`).not.toMatch(new RegExp(`\\b${name}\\b`, "i"));
    }
    if (folderOf(path) !== "plugin") expect(text).not.toMatch(/process\.exit\b/);
    expect(text).not.toMatch(/process\.env\.(TEST|NODE_ENV|VITEST)/);
  });
});
