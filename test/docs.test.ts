/** Pages that people read in trouble: they cover what there is, their links lead somewhere, and their commands work. */
import { execFile } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { outcomes } from "../src/base/errors.ts";
import { driverNames } from "../src/drivers/registry.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string) => readFileSync(join(root, path), "utf8");
const headingsOf = (text: string) => [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) => heading);
/** As GitHub makes them. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/`|\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

test("docs/troubleshooting.md has a section for each exit code, in order, and for no other", () => {
  const sections = headingsOf(read("docs/troubleshooting.md")).filter((each) => /^\d+ /.test(each));
  expect(sections).toEqual(Object.entries(outcomes).map(([name, { code }]) => `${code} ${name}`));
});

test("docs/recovery.md and docs/storages have each storage", () => {
  const recovery = read("docs/recovery.md");
  for (const name of driverNames) {
    expect(existsSync(join(root, `docs/storages/${name}.md`)), name).toBe(true);
    expect(recovery).toContain(`\`${name}/INSTANCE`);
  }
});

const pages = [
  "README.md",
  "CONTRIBUTING.md",
  "charts/pbm/README.md",
  ...globSync("docs/**/*.md", { cwd: root }),
].sort();

test.each(pages)("the links of %s lead to files and headings that there are", (page) => {
  const text = read(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
  const links = [...text.matchAll(/\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)/g)];
  for (const [link, path = "", anchor] of links) {
    const target = path === "" ? page : join(dirname(page), path);
    expect(existsSync(join(root, target)), `${page}: ${link}`).toBe(true);
    if (anchor !== undefined) expect(headingsOf(read(target)).map(anchorOf), `${page}: ${link}`).toContain(anchor);
  }
});

test("README.md leads to every page of docs, but for those that another page lists", () => {
  const text = read("README.md");
  const listed = /^docs\/(commands|decisions)\//;
  for (const page of pages)
    if (page.startsWith("docs/") && !listed.test(page)) expect(text, page).toContain(`](${page}`);
});

describe("recovery by hand, as docs/recovery.md has it", () => {
  const blocks = [...read("docs/recovery.md").matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  const [proveManifest = "", unpack = "", proveDumps = "", dumpFunction = ""] = blocks;
  const snapshot = readFileSync(join(root, "test/snapshot/golden/v1/good/everything/12-02-2021-15-28-37.tar.gz"));

  async function sh(script: string, bytes = snapshot): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "kaa-recovery-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, "12-02-2021-15-28-37.tar.gz"), bytes);
    return (await promisify(execFile)("sh", ["-c", script], { cwd: folder })).stdout;
  }

  test("the table of contents proves equal to what the file's end says, and one that was changed does not", async () => {
    const [is, says] = (await sh(proveManifest)).split("\n");
    expect(is).toMatch(/^[0-9a-f]{64}$/);
    expect(is).toBe(says);
    const damaged = Buffer.from(snapshot);
    const offset = Number(damaged.readBigUInt64LE(damaged.byteLength - 90 + 24));
    damaged[offset + 40] = (damaged[offset + 40] ?? 0) ^ 1;
    const [isNow, saysNow] = (await sh(proveManifest, damaged)).split("\n");
    expect(saysNow).toBe(says);
    expect(isNow).not.toBe(says);
  });

  test("each dump proves whole, also after a second try and compressed; one that was changed is named", async () => {
    const lines = (await sh(`${proveManifest}${unpack}${proveDumps}`)).trimEnd().split("\n").slice(2);
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) expect(line).toMatch(/^whole postgresql\/kaa-postgresql~2\//);
    const change = "printf x >> postgresql/kaa-postgresql~2/log.gz.000001\n";
    const after = (await sh(`${proveManifest}${unpack}${change}${proveDumps}`)).trimEnd().split("\n").slice(2);
    expect(after.filter((line) => !line.startsWith("whole "))).toEqual(["DAMAGED postgresql/kaa-postgresql~2/log.gz"]);
  });

  test("a dump is printed whole and uncompressed, however it is kept", async () => {
    const text = `${proveManifest}${unpack}${dumpFunction}
      for each in rows.sql log; do dump "postgresql/kaa-postgresql~2/$each" | sha256sum | cut -c 1-64; done
      jq -r '.instances[0].streams[] | select(.name == "rows.sql", .name == "log") | .name + " " + .plain.sha256' manifest.json`;
    const [, , rows, log, ...noted] = (await sh(text)).trimEnd().split("\n");
    expect(noted.sort()).toEqual([`log ${log}`, `rows.sql ${rows}`]);
  });
});
