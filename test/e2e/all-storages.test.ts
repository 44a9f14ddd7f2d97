/** All seven storages at once, on the real bed, with the built program: backed up while something writes, damaged, restored
 *  there and elsewhere, and compared by each storage's own tools. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { bedEnvironment, health, inPod, logIn, program, root, run } from "./bed.ts";
import { credentialsOf, everyContent, natives, vaultToken } from "./natives.ts";

const names = Object.keys(natives).sort();
const production = ["-n", "production-kaa"];
const stage = ["-n", "stage-kaa"];
let before: Record<string, string>;
let date = "";
let stageVault = "";

async function reset(): Promise<void> {
  const ran = await run("bash", [`${root}/test/e2e/bed/bed`, "reset"]);
  if (ran.code !== 0) throw new Error(ran.stderr);
}

beforeAll(async () => {
  await reset();
  for (const native of Object.values(natives)) await native.seed("production-kaa");
  before = await everyContent("production-kaa");
});
afterAll(reset);

test("create backs up all seven while a writer writes, and changes nothing", async () => {
  const writing = inPod(
    "production-kaa",
    "postgresql",
    "psql -qX -d postgres -c 'create table writer (n int)'; for n in $(seq 40); do psql -qX -d postgres -c \"insert into writer values ($n)\"; done; psql -qX -d postgres -c 'drop table writer'",
  );
  const env = await credentialsOf("production-kaa");
  const created = await program(["create", ...production, "--all", "--strict", "-o", "json"], { env });
  await writing;
  expect(created.code, created.stderr).toBe(0);
  expect(await everyContent("production-kaa")).toEqual(before);
  // The one that is restored is of a quiet moment, so that it can be compared.
  const quiet = await program(["create", ...production, "--all", "--strict", "-o", "json"], { env });
  expect(quiet.code, quiet.stderr).toBe(0);
  const { name, storages } = JSON.parse(quiet.stdout);
  expect(storages.map((each: { storage: string }) => each.storage).sort()).toEqual(names);
  date = name;
});

test("restore brings all seven back after damage, and what came later is gone", async () => {
  for (const native of Object.values(natives)) await native.damage("production-kaa");
  const damaged = await everyContent("production-kaa");
  for (const name of names) expect(damaged[name], `${name} was not damaged`).not.toBe(before[name]);
  const env = await credentialsOf("production-kaa");
  const restored = await program(["restore", "--date", date, ...production, "--yes", "-o", "json"], { env });
  expect(restored.code, restored.stderr).toBe(0);
  expect(JSON.parse(restored.stdout)).toMatchObject({ differences: [], failures: [] });
  expect(await everyContent("production-kaa")).toEqual(before);
  await logIn("production-kaa");
});

test("restore into stage-kaa: Vault wants the source's unseal keys before anything is touched", async () => {
  const env = await credentialsOf("stage-kaa");
  const kept = await program(["create", ...stage, "--storage", "vault", "-o", "name"], { env });
  expect(kept.code, kept.stderr).toBe(0);
  stageVault = kept.stdout.trim();
  const args = ["restore", "--date", date, ...stage, "--source-namespace", "production-kaa", "--yes"];
  const refused = await program(args, { env });
  expect(refused.code, refused.stderr).toBe(16);
  expect(refused.stderr).toMatch(/--vault-unseal-keys-file/);
});

test("restore into stage-kaa gives the same content under stage-kaa's own passwords", async () => {
  const env = await credentialsOf("stage-kaa");
  const keys = `${bedEnvironment()["BED_RUN"]}/vault/production-kaa/unseal-keys`;
  const args = ["restore", "--date", date, ...stage, "--source-namespace", "production-kaa", "--yes", "-o", "json"];
  const restored = await program([...args, "--vault-unseal-keys-file", keys], { env });
  // Attention: Vault's token has changed, and InfluxDB's user has a random password.
  expect(restored.code, restored.stderr).toBe(3);
  expect(JSON.parse(restored.stdout)).toMatchObject({ failures: [] });
  const { mariadb: _, postgresql: __, mongodb, ...now } = await everyContent("stage-kaa");
  const { mariadb: ___, postgresql: ____, mongodb: wanted, ...expected } = before;
  expect(now).toEqual(expected);
  expect(mongodb).toBe(wanted);
  await logIn("stage-kaa");
  expect(await health("stage-kaa")).not.toMatch(/ False /);
});

test("stage-kaa's own Vault comes back with stage-kaa's keys", async () => {
  const keys = `${bedEnvironment()["BED_RUN"]}/vault/stage-kaa/unseal-keys`;
  const env = { VAULT_TOKEN: vaultToken("production-kaa") };
  const args = [
    "restore",
    "--date",
    stageVault,
    ...stage,
    "--storage",
    "vault",
    "--yes",
    "--vault-unseal-keys-file",
    keys,
  ];
  const restored = await program(args, { env });
  expect(restored.code, restored.stderr).toBe(3);
  const again = await program(["storages", ...stage, "--storage", "vault"], { env: await credentialsOf("stage-kaa") });
  expect(again.code, again.stderr).toBe(0);
});

test.each([
  { storage: "influxdb", env: { INFLUXDB_ADMIN_USER_PASSWORD: "wrong" } },
  { storage: "mongodb", env: { MONGODB_ROOT_PASSWORD: "wrong" } },
  { storage: "minio", env: { MINIO_ROOT_PASSWORD: "wrong-password" } },
  { storage: "vault", env: { VAULT_TOKEN: "wrong" } },
  { storage: "opendistro", env: { OPENDISTRO_PASSWORD: "wrong" } },
])("$storage: wrong credentials end with exit code 12 and no snapshot", async ({ storage, env }) => {
  const list = async () => (await program(["list", ...production, "-o", "name"])).stdout;
  const snapshots = await list();
  const ran = await program(["create", ...production, "--storage", storage], { env });
  expect(ran.code, ran.stderr).toBe(12);
  expect(ran.stderr).not.toMatch(/\n\s+at /);
  expect(await list()).toBe(snapshots);
});
