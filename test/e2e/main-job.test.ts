/** The main job on the real bed, with the built program: back up, destroy, restore, compare with the storages' own tools. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { damage, dumps, health, inPod, logIn, program, resetBed, root, run, seed } from "./bed.ts";
import { everySecret, secretsIn } from "./secrets.ts";

const production = ["-n", "production-kaa"];
const toStage = ["-n", "stage-kaa", "--source-namespace", "production-kaa"];
const folder = mkdtempSync(join(tmpdir(), "kaa-e2e-"));
let before: { postgresql: string; mariadb: string };

async function everything(namespace: string) {
  return { postgresql: await dumps.postgresql(namespace), mariadb: await dumps.mariadb(namespace) };
}

/** Without what must differ between namespaces: the passwords of the administrators and of the container's own user. */
function withoutKeptPasswords({ postgresql, mariadb }: { postgresql: string; mariadb: string }) {
  return {
    postgresql: postgresql.replaceAll(/^(ALTER ROLE (?:kaa|postgres) .*) PASSWORD '.*';$/gm, "$1;"),
    mariadb: mariadb
      .replaceAll(/^CREATE USER `(?:kaa|root)`@.*$/gm, "")
      .replaceAll(/^(GRANT .* TO `(?:kaa|root)`@`[^`]*`) IDENTIFIED BY PASSWORD '[^']*'/gm, "$1")
      .replaceAll(/^(\S+\t(?:kaa|root)\t.*)"authentication_string":"[^"]*","password_last_changed":\d+/gm, "$1"),
  };
}

beforeAll(async () => {
  await resetBed();
  await seed("production-kaa");
  before = await everything("production-kaa");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each([
  { store: "S3", where: [] as string[] },
  { store: "a directory", where: ["--local", "--dir", join(folder, "backup")] },
])("create and restore with $store", ({ where }) => {
  let date = "";

  test("create publishes a snapshot that list shows and verify proves", async () => {
    const created = await program(["create", ...production, ...where, "--storage", "postgresql,mariadb", "-o", "json"]);
    expect(created.code, created.stderr).toBe(0);
    const { name, complete, storages } = JSON.parse(created.stdout);
    date = name;
    expect(complete).toBe(true);
    expect(storages.map((each: { storage: string }) => each.storage)).toEqual(["mariadb", "postgresql"]);
    expect((await program(["list", ...production, ...where, "-o", "name"])).stdout.split("\n")).toContain(date);
    const verified = await program(["verify", date, ...production, ...where]);
    expect(verified).toMatchObject({ code: 0 });
    expect(await everything("production-kaa"), "create changed its source").toEqual(before);
  });

  test("restore brings production-kaa back exactly, after damage, with sessions open", async () => {
    await damage("production-kaa");
    expect(await everything("production-kaa")).not.toEqual(before);
    const holding = inPod(
      "production-kaa",
      "postgresql",
      "psql -qX -d appdb -c 'begin; lock table app.things; select pg_sleep(600)'",
    ).catch(() => "ended");
    const restored = await program(["restore", "--date", date, ...production, ...where, "--yes", "-o", "json"]);
    expect(restored.code, restored.stderr).toBe(0);
    expect(JSON.parse(restored.stdout)).toMatchObject({ differences: [], failures: [] });
    expect(await everything("production-kaa")).toEqual(before);
    expect(await holding).toBe("ended");
    await logIn("production-kaa");
  });

  test("restore into stage-kaa gives the same data under stage-kaa's own passwords, and its probes stay green", async () => {
    const healthBefore = await health("stage-kaa");
    const restored = await program(["restore", "--date", date, ...toStage, ...where, "--yes"]);
    expect(restored.code, restored.stderr).toBe(0);
    expect(withoutKeptPasswords(await everything("stage-kaa"))).toEqual(withoutKeptPasswords(before));
    await logIn("stage-kaa");
    expect(await health("stage-kaa")).toBe(healthBefore);
  });

  test("a restore of one storage leaves the other alone", async () => {
    await damage("production-kaa");
    const damaged = await everything("production-kaa");
    const restored = await program([
      "restore",
      "--date",
      date,
      ...production,
      ...where,
      "--storage",
      "mariadb",
      "--yes",
    ]);
    expect(restored.code, restored.stderr).toBe(0);
    const now = await everything("production-kaa");
    expect(now.mariadb).toBe(before.mariadb);
    expect(now.postgresql).toBe(damaged.postgresql);
    const rest = await program([
      "restore",
      "--date",
      date,
      ...production,
      ...where,
      "--storage",
      "postgresql",
      "--yes",
    ]);
    expect(rest.code, rest.stderr).toBe(0);
    expect(await everything("production-kaa")).toEqual(before);
  });
});

describe("recovery by hand", () => {
  test("tar, cat, gunzip and pg_restore bring a database back without our tool", async () => {
    const backup = join(folder, "backup");
    const [fileName = ""] = readdirSync(backup);
    execFileSync("tar", ["xzf", join(backup, fileName), "-C", folder]);
    const dump = execFileSync("sh", ["-c", "cat postgresql/kaa-postgresql/databases/appdb.dump.??????"], {
      cwd: folder,
    });
    writeFileSync(join(folder, "appdb.dump"), dump);
    await run("kubectl", ["-n", "stage-kaa", "cp", join(folder, "appdb.dump"), "kaa-postgresql-0:/tmp/appdb.dump"]);
    await inPod(
      "stage-kaa",
      "postgresql",
      "psql -qX -c 'create database byhand'; pg_restore --exit-on-error -d byhand /tmp/appdb.dump; rm /tmp/appdb.dump",
    );
    const count = await inPod(
      "stage-kaa",
      "postgresql",
      "psql -XAt -d byhand -c 'select count(*), sum(twice) from app.things'",
    );
    expect(count.trim()).toBe("5000|25005000");
    await inPod("stage-kaa", "postgresql", "psql -qX -c 'drop database byhand'");
  });
});

describe("bad input", () => {
  const backup = join(folder, "backup");
  const local = ["--local", "--dir", backup];
  const cases: readonly {
    title: string;
    args: () => readonly string[];
    code: number;
    says: RegExp;
    env?: Record<string, string>;
  }[] = [
    {
      title: "an unknown storage",
      args: () => ["create", ...production, "--storage", "postgres"],
      code: 2,
      says: /there is no storage "postgres"/,
    },
    { title: "an unknown flag", args: () => ["create", "--bukcet", "x"], code: 2, says: /bukcet/ },
    {
      title: "text that is no date",
      args: () => ["verify", "yesterday", ...production],
      code: 2,
      says: /no date of a snapshot/,
    },
    {
      title: "a date without a snapshot",
      args: () => ["verify", "01-01-2001-00-00-00", ...production],
      code: 5,
      says: /there is no snapshot/,
    },
    {
      title: "a restore without a date",
      args: () => ["restore", ...production, "--yes"],
      code: 2,
      says: /--date is missing/,
    },
    {
      title: "an absent namespace",
      args: () => ["create", "-n", "no-such-namespace"],
      code: 5,
      says: /namespaces "no-such-namespace" not found/,
    },
    {
      title: "a namespace without storages",
      args: () => ["create", "-n", "default"],
      code: 8,
      says: /nothing to back up/,
    },
    {
      title: "an unknown context",
      args: () => ["create", "--context", "nowhere"],
      code: 2,
      says: /no context "nowhere"/,
    },
    {
      title: "a wrong password",
      args: () => ["create", ...production, "--storage", "postgresql"],
      code: 12,
      says: /password authentication failed/,
      env: { POSTGRES_ROOT_PWD: "wrong" },
    },
    {
      title: "a wrong MariaDB password",
      args: () => ["create", ...production, "--storage", "mariadb"],
      code: 12,
      says: /Access denied/,
      env: { MARIADB_ROOT_PWD: "wrong" },
    },
    {
      title: "no rights",
      args: () => ["create", ...production, "--as", "nobody"],
      code: 7,
      says: /resources: \["pods"\], verbs: \[list\]/,
    },
    {
      title: "wrong S3 keys",
      args: () => ["list", ...production],
      code: 12,
      says: /cannot list s3:.*secret key/,
      env: { AWS_SECRET_ACCESS_KEY: "wrong" },
    },
    {
      title: "an API server that is not there",
      args: () => ["create", ...production, "--server", "https://127.0.0.1:9"],
      code: 6,
      says: /cannot reach/,
    },
    {
      title: "a file where the directory should be",
      args: () => ["create", ...production, "--local", "--dir", join(root, "package.json")],
      code: 14,
      says: /package.json/,
    },
    {
      title: "a directory that is not there",
      args: () => ["list", "--local", "--dir", join(folder, "nowhere")],
      code: 5,
      says: /nowhere/,
    },
    {
      title: "a restore that nobody confirms",
      args: () => ["restore", "--date", "01-01-2001-00-00-00", ...production],
      code: 16,
      says: /--yes/,
    },
    {
      title: "a snapshot of another namespace",
      args: () => ["restore", "--date", newest(), "-n", "stage-kaa", ...local, "--yes"],
      code: 16,
      says: /--source-namespace production-kaa/,
    },
    {
      title: "a renamed snapshot",
      args: () => ["verify", renamed(), ...local],
      code: 4,
      says: /renamed|name this snapshot was made with/,
    },
    {
      title: "a flipped bit",
      args: () => ["restore", "--date", flipped(), ...production, ...local, "--yes"],
      code: 4,
      says: /damaged/,
    },
    {
      title: "a cut snapshot",
      args: () => ["restore", "--date", cut(), ...production, ...local, "--yes"],
      code: 4,
      says: /it is cut/,
    },
  ];

  function newest(): string {
    const [fileName = ""] = readdirSync(backup).sort();
    return fileName.replace(".tar.gz", "");
  }
  function copyAs(name: string, change: (bytes: Buffer) => Buffer): string {
    const path = join(backup, `${name}.tar.gz`);
    writeFileSync(path, change(readFileSync(join(backup, `${newest()}.tar.gz`))));
    return name;
  }
  const renamed = () => copyAs("31-12-2099-00-00-00", (bytes) => bytes);
  const flipped = () => {
    const date = newest();
    copyFileSync(join(backup, `${date}.tar.gz`), join(folder, "good"));
    copyAs(date, (bytes) => {
      const middle = Math.floor(bytes.byteLength / 2);
      bytes.writeUInt8(bytes.readUInt8(middle) ^ 16, middle);
      return bytes;
    });
    return date;
  };
  const cut = () => {
    const date = newest();
    copyAs(date, () => readFileSync(join(folder, "good")).subarray(0, -1));
    return date;
  };

  test.each(cases)("$title: exit code $code, a clear message, nothing changed", async ({ args, code, says, env }) => {
    const snapshots = (await program(["list", ...production, "-o", "name"])).stdout;
    const ran = await program(args(), env === undefined ? {} : { env });
    expect(ran.code, ran.stderr).toBe(code);
    expect(ran.stderr).toMatch(says);
    expect(ran.stderr).not.toMatch(/\n\s+at /); // no stack
    expect(ran.stdout).toBe("");
    expect((await program(["list", ...production, "-o", "name"])).stdout).toBe(snapshots);
  });

  test("none of these has changed a storage", async () => {
    expect(await everything("production-kaa")).toEqual(before);
    expect(existsSync(join(root, "package.json"))).toBe(true);
  });
});

describe("secrets", () => {
  test("no password is in the audit log of anything done here", async () => {
    const audit = readFileSync(join((await run("bash", ["-c", 'printf %s "$BED_RUN"'])).stdout, "audit.log"), "utf8");
    expect(audit).toContain("kaa-backup");
    expect(secretsIn(audit, await everySecret())).toEqual([]);
  });
});
