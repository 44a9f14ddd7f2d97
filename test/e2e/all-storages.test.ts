/** All seven storages at once, on the real bed, with the built program: backed up while something writes, damaged, restored
 *  there and elsewhere, and compared by each storage's own tools. */
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bedEnvironment, health, kubectl, logIn, resetBed, program as runProgram } from "./bed.ts";
import { credentialsOf, everyContent, natives, putLargeObject, vaultToken } from "./natives.ts";
import { everySecret, secretsIn, watchCommandLines } from "./secrets.ts";

const names = Object.keys(natives).sort();
const production = ["-n", "production-kaa"];
const stage = ["-n", "stage-kaa"];
let before: Record<string, string>;
let date = "";
let stageVault = "";

const watch = watchCommandLines();
const printed: string[] = [];

/** The program, with what it printed remembered. */
async function program(args: readonly string[], options: Parameters<typeof runProgram>[1] = {}) {
  const ran = await runProgram(args, options);
  printed.push(ran.stdout, ran.stderr);
  return ran;
}

beforeAll(async () => {
  await resetBed();
  for (const native of Object.values(natives)) await native.seed("production-kaa");
  await putLargeObject("production-kaa", 16); // a gibibyte
  before = await everyContent("production-kaa");
});
afterAll(() => resetBed());

test("create backs up all seven while writers write, and changes nothing", async () => {
  const env = await credentialsOf("production-kaa");
  const writers = await Promise.all(Object.values(natives).map((native) => native.writer("production-kaa")));
  let isDumped = false;
  const written = Promise.all(
    writers.map(async ({ write }) => {
      let n = 0;
      // Not without a pause: each of them starts programs, and the machine has other things to do.
      for (; !isDumped; n++) await Promise.all([write(n), pause(1000)]);
      return n;
    }),
  );
  const created = await program(["create", ...production, "--all", "--strict", "-o", "json"], { env });
  isDumped = true;
  for (const count of await written) expect(count).toBeGreaterThan(1);
  await Promise.all(writers.map(({ remove }) => remove()));
  expect(created.code, created.stderr).toBe(0);
  expect(await everyContent("production-kaa")).toEqual(before);
  // The one that is restored is of a quiet moment, so that it can be compared.
  const quiet = await program(["create", ...production, "--all", "--strict", "-o", "json"], { env });
  expect(quiet.code, quiet.stderr).toBe(0);
  const { name, storages } = JSON.parse(quiet.stdout);
  expect(storages.map((each: { storage: string }) => each.storage).sort()).toEqual(names);
  date = name;
});

test("a dry run tells what would go, come and stay, and for how long, and changes nothing", async () => {
  for (const native of Object.values(natives)) await native.damage("production-kaa");
  const damaged = await everyContent("production-kaa");
  for (const name of names) expect(damaged[name], `${name} was not damaged`).not.toBe(before[name]);
  const env = await credentialsOf("production-kaa");
  const args = ["restore", "--date", date, ...production, "--dry-run"];
  const { code, stdout, stderr } = await program([...args, "-o", "json"], { env });
  expect(code, stderr).toBe(0);
  const { plans } = JSON.parse(stdout);
  expect(plans.map((each: { storage: string }) => each.storage).sort()).toEqual(names);
  for (const plan of plans) {
    expect(plan).toMatchObject({ obstacles: [], estimatedMs: expect.any(Number) });
    expect([...plan.drops, ...plan.creates].length, plan.storage).toBeGreaterThan(0);
  }
  // What was made later and would go, by the names that the damage gives it.
  const later = plans.filter((each: { drops: string[] }) => each.drops.some((drop) => /later/.test(drop)));
  expect(later.map((each: { storage: string }) => each.storage).sort()).toEqual(
    names.filter((name) => name !== "vault"),
  );
  expect((await program(args, { env })).stdout).toMatch(/about \d+ (s|min)/);
  expect(await everyContent("production-kaa")).toEqual(damaged);
});

test("restore brings all seven back after damage, and what came later is gone", async () => {
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

test("nothing of ours runs in any pod any more, and nothing dead waits there to be reaped", async () => {
  const pods = (await kubectl([...production, "get", "pods", "-o", "name"])).trim().split("\n");
  expect(pods.length).toBeGreaterThanOrEqual(names.length);
  // Each process: its state and its command line.
  const script =
    'for p in /proc/[0-9]*; do [ "$p" = "/proc/$$" ] || echo "$(sed -n "s/^State:.//p" $p/status) $(tr "\\0" " " <$p/cmdline)"; done 2>/dev/null';
  for (const pod of pods) {
    const processes = (await kubectl([...production, "exec", pod, "--", "sh", "-c", script])).split("\n");
    expect(
      processes.filter((each) => /^S /.test(each)),
      `${pod} was not looked into`,
    ).not.toEqual([]);
    expect(
      processes.filter((each) => /^Z |kaa-backup|_dump|mariadb-dump|influxd backup/.test(each)),
      pod,
    ).toEqual([]);
  }
});

test("no secret was in a command line, in the audit log, or in anything that was printed", async () => {
  for (const args of [
    ["describe", date, ...production],
    ["verify", date, ...production],
    ["storages", ...production],
    ["list", ...production],
  ])
    expect((await program(args, { env: await credentialsOf("production-kaa") })).code).toBe(0);
  const commandLines = watch.stop();
  // It has looked: the tools in the pods, and this program itself.
  for (const tool of [/pg_dump -Fc/, /mariadb-dump/, /mongodump/, /influxd backup/, /kubectl-kaa_backup create/])
    expect(commandLines.filter((each) => tool.test(each))).not.toEqual([]);
  const secrets = await everySecret();
  expect(
    commandLines.flatMap((each) => secretsIn(each, secrets).map((name) => `${name} in ${each.slice(0, 60)}`)),
  ).toEqual([]);
  expect(secretsIn(readFileSync(bedEnvironment()["BED_AUDIT_LOG"] ?? "", "utf8"), secrets)).toEqual([]);
  expect(secretsIn(printed.join("\n"), secrets)).toEqual([]);
});
