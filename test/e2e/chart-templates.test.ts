/** What helm makes of the chart pbm without a cluster: what it refuses, and every object as text. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { root, run } from "./bed.ts";

const chart = `${root}/charts/pbm`;
const folder = mkdtempSync(join(tmpdir(), "kaa-templates-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Values as a file, for helm's own syntax has its ideas of what is a number. */
async function template(values: object) {
  const file = join(folder, "values.json");
  writeFileSync(file, JSON.stringify(values));
  return await run("helm", ["template", "kaa", chart, "-n", "production-kaa", "-f", file]);
}

const wanted = { run: true, backupDate: "12-02-2021-15-28-37", sourceNamespace: "production-kaa" };
const everything = {
  config: {
    backup: {
      schedule: "30 2 * * 1-5",
      storages: ["postgresql", "vault"],
      strict: true,
      keepLast: 3,
      keepDaily: 7,
      keepWeekly: 5,
      keepMonthly: 12,
      keepWithin: "14d",
      extraArgs: ["--quiet"],
    },
    restore: { ...wanted, storages: ["vault"], bucket: "other-bucket", extraArgs: ["--quiet"] },
    releaseNamePrefix: "kaa",
    s3: { bucket: "own-bucket", region: "eu-central-1", endpoint: "https://s3.example.com", existingSecret: "s3" },
    vault: { existingSecret: "vault" },
    opendistro: { existingSecret: "opendistro", endpoint: "http://s3.example.com" },
    metricsUrl: "http://pushgateway:9091",
  },
  image: { repository: "registry.example.com/pbm", digest: `sha256:${"0".repeat(64)}` },
  imagePullSecrets: [{ name: "registry" }],
  serviceAccount: { annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/backup" } },
  extraEnv: [{ name: "POSTGRES_ROOT_PWD", valueFrom: { secretKeyRef: { name: "other", key: "password" } } }],
  extraVolumes: [{ name: "authority", configMap: { name: "authority" } }],
  extraVolumeMounts: [{ name: "authority", mountPath: "/authority" }],
  nodeSelector: { disk: "none" },
  tolerations: [{ key: "backup", operator: "Exists" }],
  affinity: { nodeAffinity: {} },
  hostAliases: [{ ip: "10.0.0.1", hostnames: ["s3.example.com"] }],
  podAnnotations: { a: "b" },
  podLabels: { c: "d" },
};

test("a chart that depends on it can switch it on and off by a condition", async () => {
  const installer = join(folder, "installer");
  mkdirSync(join(installer, "charts"), { recursive: true });
  cpSync(chart, join(installer, "charts/pbm"), { recursive: true });
  const dependency = { name: "pbm", version: ">=0", repository: "", condition: "pbm.enabled" };
  const description = { apiVersion: "v2", name: "installer", version: "1.0.0", dependencies: [dependency] };
  writeFileSync(join(installer, "Chart.yaml"), JSON.stringify(description));
  for (const enabled of [true, false]) {
    const ran = await run("helm", ["template", "kaa", installer, "--set", `pbm.enabled=${enabled}`]);
    expect(ran.code, ran.stderr).toBe(0);
    expect(ran.stdout.includes("kind: CronJob")).toBe(enabled);
  }
});

test("helm lint finds nothing wrong", async () => {
  const ran = await run("helm", ["lint", "--strict", chart]);
  expect(ran.code, ran.stdout + ran.stderr).toBe(0);
});

test.each([
  { title: "no values", file: "default", values: {} },
  { title: "every value", file: "everything", values: everything },
  {
    title: "a restore and no backups",
    file: "restore-only",
    values: { config: { backup: { enabled: false }, restore: wanted } },
  },
])("with $title it makes these objects", async ({ file, values }) => {
  const ran = await template(values);
  expect(ran.code, ran.stderr).toBe(0);
  await expect(ran.stdout).toMatchFileSnapshot(`chart/${file}.yaml`);
});

test("without backups and restores it makes nothing", async () => {
  const ran = await template({ config: { backup: { enabled: false } } });
  expect(ran.code, ran.stderr).toBe(0);
  expect(ran.stdout.trim()).toBe("");
});

test("another date, source or image is another Job; the same values are the same Job", async () => {
  const jobOf = async (values: object) => {
    const ran = await template(values);
    const objects = parseAllDocuments(ran.stdout).map(
      (each) => each.toJS() as { kind?: string; metadata: { name: string } },
    );
    return objects.find((each) => each?.kind === "Job")?.metadata.name ?? ran.stderr;
  };
  const restoring = (changed: object, more: object = {}) =>
    jobOf({ config: { restore: { ...wanted, ...changed } }, ...more });
  const jobs = [
    await restoring({}),
    await restoring({ backupDate: "13-02-2021-15-28-37" }),
    await restoring({ sourceNamespace: "stage-kaa" }),
    await restoring({}, { image: { tag: "0.2.0" } }),
  ];
  for (const job of jobs) expect(job).toMatch(/^kaa-pbm-restore-[0-9a-f]{10}$/);
  expect(new Set(jobs).size).toBe(jobs.length);
  expect(await restoring({})).toBe(jobs[0]);
});

test.each([
  {
    values: { config: { backup: { schedule: "every day" } } },
    says: /\/config\/backup\/schedule.*does not match pattern/s,
  },
  { values: { config: { backup: { shedule: "0 0 * * *" } } }, says: /\/config\/backup.*'shedule' not allowed/s },
  { values: { config: { backup: { enabled: "yes" } } }, says: /\/config\/backup\/enabled.*want boolean/s },
  { values: { config: { backup: { storages: ["postgres"] } } }, says: /\/config\/backup\/storages\/0.*'postgresql'/s },
  { values: { config: { backup: { keepDaily: -1 } } }, says: /\/config\/backup\/keepDaily.*minimum/s },
  { values: { config: { backup: { keepWithin: "two weeks" } } }, says: /keepWithin.*does not match pattern/s },
  { values: { config: { backup: { activeDeadlineSeconds: 0 } } }, says: /activeDeadlineSeconds.*minimum/s },
  {
    values: { config: { restore: { ...wanted, backupDate: "2021-02-12" } } },
    says: /backupDate.*does not match pattern/s,
  },
  { values: { config: { restore: { ...wanted, sourceNamespace: "A b" } } }, says: /sourceNamespace.*does not match/s },
  { values: { config: { metricsUrl: "http://user:password@gateway" } }, says: /metricsUrl.*does not match pattern/s },
  { values: { config: { s3: { bucket: "No_Bucket" } } }, says: /\/config\/s3\/bucket.*does not match pattern/s },
  { values: { image: { digest: "latest" } }, says: /\/image\/digest.*does not match pattern/s },
  { values: { terminationGracePeriodSeconds: 5 }, says: /terminationGracePeriodSeconds.*minimum/s },
  { values: { securityContext: {} }, says: /'securityContext' not allowed/s },
  {
    values: { config: { restore: { run: true } } },
    says: /config\.restore\.backupDate is missing .* and config\.restore\.sourceNamespace is missing/,
  },
  {
    values: { config: { restore: { ...wanted, sourceNamespace: "" } } },
    says: /but config\.restore\.sourceNamespace is missing/,
  },
  { values: { serviceAccount: { create: false } }, says: /serviceAccount\.name is missing/ },
])("wrong values are refused by name: $says", async ({ values, says }) => {
  const ran = await template(values);
  expect(ran.code).not.toBe(0);
  expect(ran.stderr).toMatch(says);
});
