/** What the chart says twice: in values and in the README, in the code and in templates. One is made from the other. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isMap, type Node, parse, parseDocument, type YAMLMap } from "yaml";
import { outcomes } from "../src/base/errors.ts";
import { tool } from "../src/cli/version.ts";
import { driverNames } from "../src/drivers/registry.ts";

const chart = new URL("../charts/pbm/", import.meta.url);
const read = (name: string) => readFileSync(new URL(name, chart), "utf8");

interface Value {
  readonly path: string;
  readonly value: unknown;
  readonly description: string;
}

/** The values, as helm-docs sees them: what stands behind "# --", or has no keys below it. */
function valuesOf(map: YAMLMap, path: readonly string[] = []): readonly Value[] {
  return map.items.flatMap(({ key, value }, index) => {
    const name = (key as { value: string }).value;
    // yaml gives the comment in front of the first key to the map.
    const comment = (key as { commentBefore?: string }).commentBefore ?? (index === 0 ? map.commentBefore : undefined);
    const description = /^ -- ([\s\S]*)$/.exec(comment ?? "")?.[1];
    const below = isMap(value) && value.items.length > 0;
    if (description === undefined && below) return valuesOf(value, [...path, name]);
    const plain = (value as Node).toJSON() as unknown;
    return [{ path: [...path, name].join("."), value: plain, description: description ?? "" }];
  });
}

const values = valuesOf(parseDocument(read("values.yaml")).contents as YAMLMap);

test("every value has a description", () => {
  expect(values.length).toBeGreaterThan(40);
  expect(values.filter((each) => each.description === "").map((each) => each.path)).toEqual([]);
});

test("the README is made from values.yaml", async () => {
  const rows = values.map(
    ({ path, value, description }) => `| ${path} | \`${JSON.stringify(value)}\` | ${description} |`,
  );
  const table = ["| Key | Default | Description |", "| --- | --- | --- |", ...rows].join("\n");
  const page = read("README.md.gotmpl")
    .replace('{{ template "chart.valuesTable" . }}', table)
    .replace('{{ template "chart.version" . }}', parse(read("Chart.yaml")).version);
  await expect(page).toMatchFileSnapshot("../charts/pbm/README.md");
});

test("Jobs end at the exit codes that another try cannot change, and at no other", async () => {
  const final = Object.values(outcomes).filter(({ code, retry }) => retry === "no" && code !== 0);
  const template = `{{/* Exit codes after which trying again cannot help, from the table in src/base/errors.ts. Generated: test/chart.test.ts. */}}
{{- define "pbm.finalExitCodes" -}}
${final.map(({ code }) => code).join(", ")}
{{- end -}}
`;
  await expect(template).toMatchFileSnapshot("../charts/pbm/templates/_exit-codes.tpl");
});

test("the chart's program is this one, and its schema knows every storage", () => {
  expect(parse(read("Chart.yaml"))).toMatchObject({ version: tool.version, appVersion: tool.version });
  const schema = JSON.parse(read("values.schema.json"));
  expect(schema.definitions.storages.items.enum).toEqual(driverNames);
});

test("the schema knows every value, and no other", () => {
  const schema = JSON.parse(read("values.schema.json"));
  const known = (properties: Record<string, { properties?: object }>, path: readonly string[] = []): string[] =>
    Object.entries(properties).flatMap(([name, { properties: below }]) =>
      below === undefined ? [[...path, name].join(".")] : known(below as typeof properties, [...path, name]),
    );
  const ofParent = ["global", "enabled"]; // what a chart says that depends on this one
  const all = known(schema.properties).filter((path) => !ofParent.includes(path));
  const given = values.map(({ path }) => path).sort();
  expect(all.sort()).toEqual(given);
});
