/** The container image on the real bed: the command lines of Kaa's documentation, run as they are documented, and the conditions of
 *  the chart's CronJob. */
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { bedEnvironment, inPod, kubectl, program, type Ran, resetBed, root, run } from "./bed.ts";
import { credentialsOf, natives } from "./natives.ts";

const image = `dev-hub.kaaiot.net/devops/pbm/pbm:${packageJson.version}`;
const namespace = "production-kaa";
const bed = (...args: readonly string[]) => succeeded(run("bash", [join(root, "test/e2e/bed/bed"), ...args]));

async function succeeded(running: Promise<Ran>): Promise<string> {
  const { code, stdout, stderr } = await running;
  if (code !== 0) throw new Error(stdout + stderr);
  return stdout;
}

let before: string;
beforeAll(async () => {
  await bed("import", join(root, "dist/image.tar"));
  await resetBed(namespace);
  await natives["postgresql"]?.seed(namespace);
  before = await postgresql();
});
afterAll(() => resetBed(namespace));

async function postgresql(): Promise<string> {
  return (await natives["postgresql"]?.contents(namespace)) ?? "";
}

describe("docker run --rm -it --entrypoint bash -u app --name pbm -v ${PWD}/backup:… -v ${HOME}/.kube:…:ro", () => {
  const folder = mkdtempSync(join(tmpdir(), "kaa-image-"));
  const backup = join(folder, "backup");
  const kube = join(folder, ".kube");
  const container = `pbm-${process.pid}`;
  const containerd = (args: readonly string[], input = "") => {
    const socket = bedEnvironment()["BED_CONTAINERD_SOCKET"] ?? "";
    return run("ctr", ["-a", socket, "-n", "k8s.io", ...args], { input });
  };
  let exports: string;

  // containerd's client names no user when it starts a container, but when it enters one.
  beforeAll(async () => {
    for (const path of [backup, kube]) mkdirSync(path);
    copyFileSync(bedEnvironment()["KUBECONFIG"] ?? "", join(kube, "config"));
    chmodSync(join(kube, "config"), 0o600);
    for (const path of [backup, kube, join(kube, "config")]) chownSync(path, 1000, 1000);
    const mounts = [
      ...["--mount", `type=bind,src=${backup},dst=/tmp/backup,options=rbind:rw`],
      ...["--mount", `type=bind,src=${kube},dst=/home/app/.kube,options=rbind:ro`],
    ];
    await succeeded(containerd(["run", "--detach", "--net-host", ...mounts, image, container, "sleep", "1d"]));
    const { AWS_ENDPOINT_URL = "", AWS_ACCESS_KEY_ID = "", AWS_SECRET_ACCESS_KEY = "" } = bedEnvironment();
    const { VAULT_TOKEN = "", OPENDISTRO_USERNAME = "", OPENDISTRO_PASSWORD = "" } = await credentialsOf(namespace);
    const s3 = { AWS_DEFAULT_REGION: "us-east-1", AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL };
    const variables = { ...s3, VAULT_TOKEN, OPENDISTRO_USERNAME, OPENDISTRO_PASSWORD };
    // In a shell's single quotes only a single quote needs care.
    const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
    exports = Object.entries(variables)
      .map(([name, value]) => `export ${name}=${quoted(value)}\n`)
      .join("");
  });
  afterAll(async () => {
    await containerd(["tasks", "kill", "--signal", "KILL", container]);
    await containerd(["tasks", "delete", "--force", container]);
    await succeeded(containerd(["containers", "delete", container]));
    rmSync(folder, { recursive: true });
  });

  let sessions = 0;
  function bash(lines: string, user = "app"): Promise<Ran> {
    const session = ["tasks", "exec", "--user", user, "--exec-id", `bash-${++sessions}`, container, "bash"];
    return containerd(session, `set -e\n${exports}${lines}\n`);
  }

  test("kubectl shows the pods", async () => {
    const { code, stdout, stderr } = await bash(`id -un; kubectl get pods -n ${namespace}`);
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^app\nNAME +READY/);
    expect(stdout).toMatch(/\nkaa-postgresql-0 +1\/1 +Running/);
    expect(stderr).toBe("");
    expect(readdirSync(kube)).toEqual(["config"]);
  });

  test("the old commands leave a snapshot in S3 and in ./backup, and restore from both", async () => {
    const common = `backup backup --release-name-prefix kaa --namespace ${namespace}`;
    const created = await bash(`${common} create_s3_all_backups`);
    expect(created.code, created.stderr).toBe(0);
    const [fileName = "", ...others] = readdirSync(backup);
    expect(others).toEqual([]);
    const { uid, mode } = statSync(join(backup, fileName));
    expect({ uid, mode: mode & 0o777 }).toEqual({ uid: 1000, mode: 0o600 });
    const date = fileName.replace(".tar.gz", "");
    expect((await program(["list", "-n", namespace, "-o", "name"])).stdout.split("\n")).toContain(date);
    for (const command of ["restore_local_postgresdb_backups", "restore_s3_postgresdb_backups"]) {
      const damage = "psql -qX -d appdb -c 'drop table app.things cascade'; psql -qX -c 'create database later'";
      await inPod(namespace, "postgresql", damage);
      expect(await postgresql()).not.toBe(before);
      const restored = await bash(`${common} --backup-date ${date} --source-namespace ${namespace} ${command}`);
      expect(restored.code, restored.stderr).toBe(0);
      expect(await postgresql()).toBe(before);
    }
  });

  test("the plugin answers under kubectl, and each of its names calls itself so", async () => {
    const { code, stdout, stderr } = await bash("kubectl kaa-backup --help | head -n 1; backup --help | head -n 1");
    expect(code, stderr).toBe(0);
    expect(stdout).toBe("kubectl kaa-backup <command> [flags]\nbackup <command> [flags]\n");
  });

  test("somebody else, whose the directory is not, is told so, and the snapshot is in S3", async () => {
    chmodSync(join(kube, "config"), 0o644);
    const created = await bash(
      `backup backup --release-name-prefix kaa --namespace ${namespace} create_s3_postgresdb_backups`,
      "12345",
    );
    expect(created.code, created.stderr).toBe(3);
    expect(created.stderr).toMatch(/no copy in \/tmp\/backup.*EACCES|no copy in \/tmp\/backup.*permission denied/);
    expect(created.stdout).toMatch(/^created s3:/);
  });
});

describe("a pod as the CronJob's: no capabilities, a read-only root, 256 MiB", () => {
  const name = "kaa-backup-image-test";
  const rights = {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "Role",
    metadata: { name },
    rules: [
      { apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] },
      { apiGroups: [""], resources: ["pods/exec", "pods/portforward"], verbs: ["get", "create"] },
      { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get", "create", "update", "delete"] },
    ],
  };
  const binding = {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "RoleBinding",
    metadata: { name },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
    subjects: [{ kind: "ServiceAccount", name, namespace }],
  };
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name } };
  const apply = (objects: readonly object[]) =>
    kubectl(["-n", namespace, "apply", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: objects }));

  beforeAll(() => apply([account, rights, binding]));
  afterAll(() => kubectl(["-n", namespace, "delete", "--ignore-not-found", ...kinds.map((kind) => `${kind}/${name}`)]));
  const kinds = ["pod", "secret", "rolebinding", "role", "serviceaccount"];

  test("a user that the image does not know backs everything up", async () => {
    const { BED_S3_URL_IN_PODS = "", AWS_ACCESS_KEY_ID = "", AWS_SECRET_ACCESS_KEY = "" } = bedEnvironment();
    const s3 = { AWS_ENDPOINT_URL: BED_S3_URL_IN_PODS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY };
    const stringData = { ...s3, ...(await credentialsOf(namespace)) };
    const script = `touch /written 2>/dev/null && exit 99
      kubectl get pods >/dev/null || exit 98
      kubectl kaa-backup create --all --strict -o name`;
    const container = {
      name: "backup",
      image,
      imagePullPolicy: "Never",
      command: ["bash", "-c", script],
      envFrom: [{ secretRef: { name } }],
      resources: { limits: { memory: "256Mi" } },
      securityContext: {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      },
      volumeMounts: [{ name: "tmp", mountPath: "/tmp" }],
    };
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name },
      spec: {
        restartPolicy: "Never",
        serviceAccountName: name,
        securityContext: { runAsNonRoot: true, runAsUser: 12345, seccompProfile: { type: "RuntimeDefault" } },
        volumes: [{ name: "tmp", emptyDir: {} }],
        containers: [container],
      },
    };
    await apply([{ apiVersion: "v1", kind: "Secret", metadata: { name }, stringData }, pod]);
    try {
      const ended = "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}";
      await kubectl(["-n", namespace, "wait", `pod/${name}`, `--for=${ended}`, "--timeout=300s"]);
      const code = await kubectl(["-n", namespace, "get", `pod/${name}`, "-o", ended]);
      const log = await kubectl(["-n", namespace, "logs", name]);
      expect(code, log).toBe("0");
      const date = /^\d\d-\d\d-\d{4}-\d\d-\d\d-\d\d$/m.exec(log)?.[0] ?? "none";
      expect((await program(["verify", date, "-n", namespace])).code, log).toBe(0);
    } finally {
      await kubectl(["-n", namespace, "delete", "pod", name, "--ignore-not-found"]);
    }
  });
});
