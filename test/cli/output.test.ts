/** The documents for programs are what docs/output.md shows, and every format prints the same result. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parse } from "yaml";
import type { BackupResult } from "../../src/backup.ts";
import { UserError } from "../../src/base/errors.ts";
import type { Described } from "../../src/catalog.ts";
import { shownBackup } from "../../src/cli/create.ts";
import { shownRemovals } from "../../src/cli/delete.ts";
import { shownDownload } from "../../src/cli/download.ts";
import { printerFor, type Shown } from "../../src/cli/output.ts";
import { shownPrune } from "../../src/cli/prune.ts";
import { shownRestore } from "../../src/cli/restore.ts";
import { shownStorages } from "../../src/cli/storages.ts";
import { shownVerdicts } from "../../src/cli/verify.ts";
import type { PruneOutcome } from "../../src/prune.ts";
import type { RestoreOutcome } from "../../src/restore.ts";
import type { Inspected } from "../../src/storages.ts";
import { remembering, session } from "./session.ts";

const page = readFileSync(new URL("../../docs/output.md", import.meta.url), "utf8");
const directory = fileURLToPath(new URL("../snapshot/golden/v1/good/partial", import.meta.url));
const date = "12-02-2021-15-28-37";
const here = ["--local", "--dir", directory];

/** The example of a command, as the page has it. */
function documented(command: string): string {
  const found = new RegExp(`^\`\`\`json ${command}\n(.*?)^\`\`\`$`, "ms").exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/output.md has no example of ${command}`);
  return found;
}

async function printed(shown: Shown, format: string): Promise<string> {
  const stdout = remembering();
  (await printerFor({ stdout }, format))(shown);
  return stdout.text();
}

const storage = { storage: "postgresql", instance: "kaa-postgresql" };
const failure = {
  storage: "vault",
  instance: "kaa-vault",
  error: new UserError("credentials", "no token", { hints: ["not shown"] }),
};

// Only what is shown of them matters.
const backup = {
  fileName: `${date}.partial.tar.gz`,
  location: "s3://storage-backup--kaa",
  sizeBytes: 2426,
  manifest: {
    name: date,
    complete: false,
    instances: [{ ...storage, counts: { databases: 3 }, warnings: [], facts: "not shown" }],
  },
  failures: [failure],
  shrunk: [
    {
      storage: "mongodb",
      instance: "kaa-mongodb",
      bytes: 1200,
      last: { snapshotName: "11-02-2021-15-28-37", bytes: 340_000 },
    },
  ],
} as unknown as BackupResult;

const inspection = { serverVersion: "16.4", estimatedBytes: 7_340_032, contents: ["app"], warnings: [] };
const inspected = {
  ready: [
    { instance: { storage: "postgresql", name: "kaa-postgresql", pods: [] }, inspection } as unknown as Inspected,
  ],
  failures: [failure],
};

const plan = { drops: ["database app"], creates: ["database app"], keeps: [], warnings: [], obstacles: [] };
const restored = {
  preview: {
    fileName: `${date}.tar.gz`,
    namespace: "stage-kaa",
    instances: [
      { entry: storage, target: { storage: "postgresql", name: "stage-postgresql" }, plan, estimatedMs: 9000 },
    ],
  },
  results: [{ task: "postgresql/stage-postgresql", counts: { rows: 12 }, warnings: [] }],
  differences: [{ task: "postgresql/stage-postgresql", unit: "rows", expected: 13, actual: 12 }],
  failures: [],
} as unknown as RestoreOutcome;

const entry = { name: date, fileName: `${date}.partial.tar.gz`, sizeBytes: 2426, partial: true };
const removal = {
  snapshot: { ...entry, startedAt: new Date("2021-02-12T15:28:37Z") } as unknown as Described,
  removed: true,
  problems: ["opendistro/kaa-opendistro-es: its part of 12-02-2021-15-28-37 stays: the engine is away"],
};

test("the documents of download, delete and prune are those of docs/output.md", async () => {
  const directory = "/var/backup";
  expect(await printed(shownDownload(entry, { directory, sizeBytes: 2426 }), "json")).toBe(documented("download"));
  const location = "s3://storage-backup--kaa";
  expect(await printed(shownRemovals([removal], location), "json")).toBe(documented("delete"));
  const stays = {
    ...removal.snapshot,
    name: "13-02-2021-00-00-00",
    fileName: "13-02-2021-00-00-00.tar.gz",
  } as Described;
  const outcome: PruneOutcome = {
    decisions: [
      {
        snapshot: { ...stays, startedAt: new Date("2021-02-13T00:00:00Z"), partial: false },
        reasons: ["newest", "daily"],
      },
      { snapshot: removal.snapshot, reasons: [] },
    ],
    removals: [removal],
  };
  const facts = { dryRun: false, location, namespace: "kaa" };
  expect(await printed(shownPrune(outcome, facts), "json")).toBe(documented("prune"));
});

test("the document of verify --all is that of docs/output.md", async () => {
  const damaged = {
    name: "13-02-2021-00-00-00",
    fileName: "13-02-2021-00-00-00.tar.gz",
    sizeBytes: 1718,
    partial: false,
  };
  const times = { startedAt: new Date(0), modifiedAt: new Date(0) };
  const verdicts = [
    { ...damaged, ...times, problem: new UserError("invalid-snapshot", "cut") },
    { ...entry, ...times },
  ];
  expect(await printed(shownVerdicts(verdicts, "/var/backup"), "json")).toBe(documented("verify --all"));
});

test("the documents of create, storages and restore are those of docs/output.md", async () => {
  expect(await printed(shownBackup(backup), "json")).toBe(documented("create"));
  expect(await printed(shownStorages(inspected), "json")).toBe(documented("storages"));
  const from = { dryRun: false, contextName: "stage" };
  expect(await printed(shownRestore(restored, from), "json")).toBe(documented("restore"));
});

test.each([
  ["list", ["list"]],
  ["describe", ["describe", date]],
  ["verify", ["verify", date]],
])("the document of %s is that of docs/output.md", async (command, argv) => {
  const ran = await session([...argv, ...here, "-o", "json"]);
  const { manifest, ...rest } = JSON.parse(ran.stdout) as { manifest?: object };
  if (command === "describe") expect(manifest).toMatchObject({ formatVersion: 1, name: date, complete: false });
  const shown = JSON.stringify(manifest === undefined ? rest : { ...rest, manifest: {} }, null, 2);
  expect(`${shown.replace(JSON.stringify(directory), '"/var/backup"')}\n`).toBe(documented(command));
});

test("YAML has what JSON has, and its older readers take no text for a date", async () => {
  const shown = { document: { when: new Date(0), no: "no", nothing: null }, names: [], table: () => "" };
  const yaml = await printed(shown, "yaml");
  expect(parse(yaml)).toEqual(JSON.parse(await printed(shown, "json")));
  expect(parse(yaml, { version: "1.1" })).toMatchObject({ when: "1970-01-01T00:00:00.000Z", no: "no" });
});

test("no format lets a hostile name reach the terminal as it is, and programs still read the name", async () => {
  const name = "a\u001b[2Jb\u202ec";
  const shown = { document: { name }, names: [name], table: () => `${name}\n` };
  for (const format of ["table", "wide", "json", "yaml", "name", "jsonpath={.name}"])
    expect(await printed(shown, format), format).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  expect(JSON.parse(await printed(shown, "json"))).toEqual({ schema: 1, name });
  expect(parse(await printed(shown, "yaml"))).toEqual({ schema: 1, name });
});

test("names are one a line; wide is the table where there is nothing more", async () => {
  const shown = { document: {}, names: ["a", "b"], table: () => "TABLE\n" };
  expect(await printed(shown, "name")).toBe("a\nb\n");
  expect(await printed(shown, "wide")).toBe("TABLE\n");
  expect(await printed({ ...shown, wide: () => "WIDE\n" }, "wide")).toBe("WIDE\n");
});

test.each(["tabel", "jsonpath", "jsonpath={.a", ""])(
  "-o %j is a usage error before anything is done",
  async (format) => {
    const ran = await session(["create", "-n", "kaa", "-o", format]);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toMatch(/^error usage: /);
  },
);
