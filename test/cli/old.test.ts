/** The interface of the old tool, command line by command line. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { oldCommands } from "../../src/drivers/old-names.ts";
import { isDriverName } from "../../src/drivers/registry.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { session } from "./session.ts";

// A cluster that nobody is: no test here can reach the one of the person who runs it.
const folder = mkdtempSync(join(tmpdir(), "kaa-old-"));
const kubeconfig = join(folder, "kubeconfig");
writeFileSync(
  kubeconfig,
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "nowhere",
    clusters: [{ name: "nowhere", cluster: { server: "https://127.0.0.1:1" } }],
    contexts: [{ name: "nowhere", context: { cluster: "nowhere", user: "nobody" } }],
    users: [{ name: "nobody", user: {} }],
  }),
);
const start = ["backup", "--kubeconfig", kubeconfig, "--release-name-prefix", "kaa"];
const common = [...start, "--namespace", "production-kaa"];
const date = ["--backup-date", "12-02-2021-15-28-37"];

/** Every command of Kaa's page on platform backup: its name, what it does, where, and the storage (undefined: all). */
const documented: readonly (readonly [string, "create" | "restore", "s3" | "local", string | undefined])[] = [
  ["create_s3_all_backups", "create", "s3", undefined],
  ["create_s3_mongodb_backups", "create", "s3", "mongodb"],
  ["create_s3_mariadb_backups", "create", "s3", "mariadb"],
  ["create_s3_postgresdb_backups", "create", "s3", "postgresql"],
  ["create_s3_influxdb_backups", "create", "s3", "influxdb"],
  ["create_s3_minio_backups", "create", "s3", "minio"],
  ["create_s3_vault_backups", "create", "s3", "vault"],
  ["create_s3_opendistro_backups", "create", "s3", "opendistro"],
  ["create_local_all_backups", "create", "local", undefined],
  ["create_local_mongodb_backups", "create", "local", "mongodb"],
  ["create_local_mariadb_backups", "create", "local", "mariadb"],
  ["create_local_postgresdb_backups", "create", "local", "postgresql"],
  ["create_local_influxdb_backups", "create", "local", "influxdb"],
  ["create_local_minio_backups", "create", "local", "minio"],
  ["create_local_vault_backups", "create", "local", "vault"],
  ["restore_s3_all_backups", "restore", "s3", undefined],
  ["restore_s3_mongodb_backups", "restore", "s3", "mongodb"],
  ["restore_s3_mariadb_backups", "restore", "s3", "mariadb"],
  ["restore_s3_postgresdb_backups", "restore", "s3", "postgresql"],
  ["restore_s3_influxdb_backups", "restore", "s3", "influxdb"],
  ["restore_s3_minio_backups", "restore", "s3", "minio"],
  ["restore_s3_vault_backups", "restore", "s3", "vault"],
  ["restore_s3_opendistro_backup", "restore", "s3", "opendistro"],
  ["restore_local_all_backups", "restore", "local", undefined],
  ["restore_local_mongodb_backups", "restore", "local", "mongodb"],
  ["restore_local_mariadb_backups", "restore", "local", "mariadb"],
  ["restore_local_postgresdb_backups", "restore", "local", "postgresql"],
  ["restore_local_influxdb_backups", "restore", "local", "influxdb"],
  ["restore_local_minio_backups", "restore", "local", "minio"],
  ["restore_local_vault_backups", "restore", "local", "vault"],
];

/** Where a command line that is understood stops when there is neither a cluster nor a bucket nor a directory. */
const stops = {
  create: { s3: /^error cluster:/m, local: /^error cluster:/m },
  restore: { s3: /s3:\/\/storage-backup--source-kaa/, local: /no directory "[^"]*\/no-such-directory"/ },
};

const s3 = new FakeS3();
beforeAll(async () => {
  await s3.start();
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "a-secret-that-must-not-leak");
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await s3[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

test.each(documented)("%s: %s, %s, storage %s", async (name, action, place, storage) => {
  const isKnown = storage === undefined || isDriverName(storage);
  expect(oldCommands.get(name)).toEqual(isKnown ? { action, local: place === "local", storage } : undefined);
  const source = action === "restore" ? [...date, "--source-namespace", "source-kaa"] : [];
  const directory = place === "local" ? ["--dir", join(folder, "no-such-directory")] : [];
  const ran = await session([...common, ...source, ...directory, name], {
    AWS_ENDPOINT_URL: s3.url,
  });
  if (isKnown) expect(ran.stderr).toMatch(stops[action][place]);
  else expect(ran.stderr).toContain(`there is no command "${name}"`);
  expect(ran.code).toBeGreaterThanOrEqual(2);
  expect(ran.stdout).toBe("");
});

test("a command understands its flags in front of it and behind it", async () => {
  const behind = await session(["backup", "create_s3_all_backups", ...common.slice(1)]);
  const inFront = await session([...common, "create_s3_all_backups"]);
  expect(behind).toEqual(inFront);
  expect(inFront.stderr).toMatch(/^error cluster:/m);
});

test.each([
  ["no command", common, /backup needs <command>/],
  ["no such command", [...common, "create_s3_all_backup"], /there is no command "create_s3_all_backup"/],
  ["no namespace", [...start, "create_s3_all_backups"], /needs --namespace/],
  ["no date to restore", [...common, "restore_s3_all_backups"], /needs --backup-date/],
  ["an empty date", [...common, "--backup-date", "", "restore_s3_all_backups"], /--backup-date: the value is empty/],
  ["a date for create", [...common, ...date, "create_s3_all_backups"], /--backup-date has no meaning/],
  ["a source for create", [...common, "--source-namespace", "a", "create_s3_all_backups"], /--source-namespace/],
  ["an unknown flag", [...common, "--colour=red", "create_s3_all_backups"], /colour/],
  ["two commands", [...common, "create_s3_all_backups", "create_s3_all_backups"], /takes no argument/],
])("%s is a usage error before any cluster is asked", async (_, argv, message) => {
  const ran = await session(argv);
  expect(ran.code).toBe(2);
  expect(ran.stderr).toMatch(message);
  expect(ran.stderr).not.toMatch(/127\.0\.0\.1/);
  expect(ran.stdout).toBe("");
});

test("the directory is --dir, else what the environment names, else ./backup", async () => {
  const restore = [...common, ...date, "restore_local_all_backups"];
  const named = join(folder, "named");
  const environment = { KAA_BACKUP_DIR: join(folder, "of-the-environment") };
  const says = async (argv: readonly string[], env: Record<string, string>) => (await session(argv, env)).stderr;
  expect(await says([...restore, "--dir", named], environment)).toContain(`no directory "${named}"`);
  expect(await says(restore, environment)).toContain(`no directory "${environment.KAA_BACKUP_DIR}"`);
  expect(await says(restore, { KAA_BACKUP_DIR: "" })).toContain(`no directory "${join(process.cwd(), "backup")}"`);
});

test("help lists every name and contacts nothing", async () => {
  const ran = await session(["backup", "--help"]);
  expect(ran).toMatchObject({ code: 0, stderr: "" });
  for (const name of oldCommands.keys()) expect(ran.stdout).toContain(`\n- ${name}\n`);
});
