/** Every command line of Kaa's documentation of the earlier tool, on the real bed: it does what the page says. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commandLines, wordsOf } from "../cli/platform-backup.ts";
import { program, resetBed } from "./bed.ts";
import { credentialsOf, everyContent, natives } from "./natives.ts";

const namespace = "production-kaa";
const folder = mkdtempSync(join(tmpdir(), "kaa-old-"));
/** Dates of what create_s3_all_backups and create_local_all_backups have made. */
const dates = { S3: "", Locally: "" };
let env: Record<string, string>;
let before: Record<string, string>;

beforeAll(async () => {
  await resetBed(namespace);
  for (const native of Object.values(natives)) await native.seed(namespace);
  before = await everyContent(namespace);
  env = await credentialsOf(namespace);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await resetBed(namespace);
});

async function runLine(line: string, date = "") {
  const values = { "release-name-prefix": "kaa", "k8s-namespace": namespace, "source-k8s-namespace": namespace };
  return await program(wordsOf(line, { ...values, "backup-date": date }), { env, cwd: folder });
}

/** The snapshots that are in the bucket, or in the folder "backup" of the call. */
async function stored(place: "S3" | "Locally"): Promise<readonly string[]> {
  const local = place === "S3" ? [] : ["--local"];
  const { stdout } = await program(["list", "-n", namespace, "-o", "name", ...local], { cwd: folder });
  return stdout.split("\n").filter((each) => each !== "");
}

const kinds = (what: "create" | "restore") => commandLines.filter(([, kind]) => kind.startsWith(what));
const placeOf = (kind: string) => (kind.endsWith("Locally") ? "Locally" : "S3");

describe("creating", () => {
  test.each(kinds("create"))("%s", async (line, kind, storage) => {
    const place = placeOf(kind);
    const earlier = await stored(place);
    const ran = await runLine(line);
    expect(ran.code, ran.stderr).toBe(0);
    const [date = "", ...others] = (await stored(place)).filter((each) => !earlier.includes(each));
    expect(others).toEqual([]);
    if (storage === undefined) dates[place] = date;
    // What goes to S3 leaves a copy in the folder, as the earlier tool did.
    expect(readdirSync(join(folder, "backup"))).toContain(`${date}.tar.gz`);
  });
});

describe("restoring", () => {
  test.each(kinds("restore"))("%s", async (line, kind, storage) => {
    if (storage === undefined) {
      for (const native of Object.values(natives)) await native.damage(namespace);
      expect(await everyContent(namespace)).not.toEqual(before);
    }
    const ran = await runLine(line, dates[placeOf(kind)]);
    expect(ran.code, ran.stderr).toBe(0);
    const { opendistro: _, ...others } = before;
    // A directory holds no Open Distro, so what was damaged there stays.
    if (storage === undefined)
      expect(await everyContent(namespace)).toEqual(
        kind === "restoreLocally" ? { ...others, opendistro: expect.anything() } : before,
      );
  });
});
