/** Credentials (CR-01 to CR-08): what is done with them, what without them, and where they must never show. */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { canaries, canariesIn } from "./canaries.ts";
import { expectInvariants } from "./invariants.ts";
import { sources, start } from "./program.ts";
import { bucket, type Ended, Stage } from "./stage.ts";

vi.setConfig({ maxConcurrency: 3 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const createVault = ["--storage", "vault"] as const;

describe("CR-01: a password with", () => {
  test.each([
    ["every kind of quote", `'"\`$(touch /tmp/kaa-owned)\\ %s %% !\${HOME}`],
    ["line ends", "first\nsecond\r\nthird"],
    ["letters of other scripts", "пароль-密码-🔑"],
    ["4 KiB", "p'w".repeat(1366)],
    ["blanks at its ends", "  x  "],
    ["a leading hyphen", "--help"],
  ])("%s reaches the tool as it is, and no command line", async (_, password) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "before-dump"), 'printf %s "$MYSQL_PWD" >"$folder/seen"');
    const argv = ["create", ...stage.cluster, "--storage", "mariadb"];
    const ended = await stage.run(argv, { env: { MARIADB_ROOT_PWD: password } });
    expect(readFileSync(join(stage.mariadb, "seen"), "utf8")).toBe(password);
    for (const { url } of stage.api.requests) expect(decodeURIComponent(url)).not.toContain(password);
    expect(ended.stderr + ended.stdout).not.toContain(password);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test.each(["tökén", "with\nline", "null\0byte"])(
    "%j for a Vault's token, which no header can hold, is told",
    async (token) => {
      await using stage = await Stage.set({ pod });
      const before = await stage.state();
      const argv = ["create", ...stage.cluster, ...createVault];
      const ended = await stage.run(argv, { env: { VAULT_TOKEN: token } });
      expect(ended.stderr).not.toContain(token);
      await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
    },
  );
});

describe("CR-02: nothing secret is found", () => {
  test("in anything that is said, sent or kept, at the most talkative level", async () => {
    await using stage = await Stage.set({ engine: {} });
    const before = await stage.state();
    const argv = ["create", ...stage.cluster, "--storage", "mariadb,vault,opendistro", "-v", "-o", "json"];
    const made = await stage.run(argv);
    await expectInvariants(stage, before, made, { command: "create", outcome: "ok" });
    const { name } = JSON.parse(made.stdout) as { name: string };
    const runs = [
      ["doctor", ...stage.cluster, "-v"],
      ["storages", ...stage.cluster, "-v"],
      ["list", ...stage.cluster, "-o", "wide", "-v"],
      ["describe", name, ...stage.cluster, "-o", "yaml", "-v"],
      ["verify", name, ...stage.cluster, "-v", "--log-format", "json"],
      ["restore", "--date", name, ...stage.cluster, "--yes", "-v"],
    ];
    for (const each of runs) {
      const ended = await stage.run(each);
      expect(ended.code, `${each[0]}: ${ended.stderr}`).toBeLessThan(4);
      expect(canariesIn(ended.stdout + ended.stderr), each[0]).toEqual([]);
    }
    const [version] = stage.s3.bucket(bucket).objects.get(`${name}.tar.gz`) ?? [];
    if (version === undefined) throw new Error("no snapshot");
    expect(canariesIn(JSON.stringify(version.metadata))).toEqual([]);
    // The dump holds data, which is what a backup is; everything around it holds no credential.
    const found = canariesIn(gunzipSync(version.body).toString("latin1")).filter((each) => each !== "row");
    expect(found, "in the archive").toEqual([]);
    expect([...stage.commandLines.found]).toEqual([]);
    const asked = stage.api.requests.map(({ method, url }) => `${method} ${decodeURIComponent(url)}`).join("\n");
    expect(canariesIn(asked)).toEqual([]);
  });

  test("in files that a run leaves on the disk", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    const ended = await stage.create("--local", "--dir", stage.directory);
    for (const name of readdirSync(stage.directory)) {
      const content = gunzipSync(readFileSync(join(stage.directory, name))).toString("latin1");
      expect(canariesIn(content).filter((each) => each !== "row")).toEqual([]);
    }
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});

describe("CR-03: a Secret that the configuration names", () => {
  const createWith = async (stage: Stage, answer: { readonly status: number; readonly data?: object }) => {
    const path = join(stage.folder, "kaa-backup.yaml");
    const source = "{secret: {name: db, key: root}}";
    writeFileSync(path, `storages:\n  mariadb:\n    credentials:\n      MARIADB_ROOT_PWD: ${source}\n`);
    const account = 'User "x" cannot get resource "secrets" in API group "" in the namespace "kaa"';
    const body = JSON.stringify({ data: answer.data, message: `secrets "db" is forbidden: ${account}` });
    stage.api.requestFault = (_method, asked) =>
      asked.endsWith("/secrets/db") ? { status: answer.status, body } : undefined;
    return await stage.run(["create", ...stage.cluster, "--storage", "mariadb", "--config", path]);
  };

  test.each([
    ["is missing", { status: 404 }],
    ["lacks the key", { status: 200, data: { other: "eA==" } }],
    ["is empty", { status: 200, data: { root: "" } }],
    ["has nothing at all", { status: 200 }],
    ["is no base64", { status: 200, data: { root: "%%%%" } }],
    ["is of another type", { status: 200, data: { root: { a: 1 } } }],
  ])("%s: secret and key are named", async (_, answer) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await createWith(stage, answer);
    expect(ended.stderr).toContain('key "root" of secret "db" is absent or empty');
    await expectInvariants(stage, before, ended, { command: "read", outcome: "credentials" });
  });

  test("may not be read: the right is named", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await createWith(stage, { status: 403 });
    expect(ended.stderr).toContain('resources: ["secrets"], verbs: [get]');
    await expectInvariants(stage, before, ended, { command: "read", outcome: "forbidden" });
  });

  test("is rotated while the run is under way: nothing is published, and the login is named", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const { vault } = stage;
    stage.api.forwardFault = () => {
      // The second connection is the dump's.
      if (vault.requests.length > 0) vault.token = "another-token";
      return undefined;
    };
    const ended = await stage.create(...createVault);
    vault.token = canaries.vaultToken;
    expect(ended.stderr).toMatch(/refuses the token|may not/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });
});

test("CR-04: a database's error that repeats the password, in whatever form, is shown without it", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  const say = [
    'echo "mysql://root:$MYSQL_PWD@localhost: access denied" >&2',
    'printf %s "$MYSQL_PWD" | base64 -w0 >&2',
    "echo >&2",
    'printf %s "$MYSQL_PWD" | od -An -v -tx1 | tr -d " \\n" >&2',
    "exit 2",
  ];
  writeFileSync(join(stage.mariadb, "after-dump"), say.join("\n"));
  const argv = ["create", ...stage.cluster, "--storage", "mariadb", "-v"];
  const ended = await stage.run(argv, { env: { MARIADB_ROOT_PWD: canaries.rootPassword } });
  expect(ended.stderr).toContain("access denied");
  await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
});

/** The program as a process with an environment of its own: the S3 library looks for credentials there. */
async function withEnvironment(stage: Stage, env: Readonly<Record<string, string>>): Promise<Ended> {
  const { PATH = "" } = process.env;
  const { AWS_ACCESS_KEY_ID: _id, AWS_SECRET_ACCESS_KEY: _key, ...rest } = stage.environment();
  const basic = { PATH, HOME: stage.folder, AWS_EC2_METADATA_DISABLED: "true" };
  const running = start(["create", ...stage.cluster, "--storage", "mariadb"], { env: { ...rest, ...basic, ...env } });
  const { code, stdout, stderr, durationMs } = await running.ended;
  return { code: code ?? -1, stdout, stderr, tookMs: durationMs };
}

describe("CR-05: S3 credentials", () => {
  const keys = `aws_access_key_id = AKIAFAKEFAKEFAKEFAKE\naws_secret_access_key = ${canaries.awsSecret}\n`;
  const shared = (stage: Stage) => {
    const path = join(stage.folder, "credentials");
    writeFileSync(path, `[kaa]\n${keys}`, { mode: 0o600 });
    return path;
  };
  const id = "AKIAFAKEFAKEFAKEFAKE";

  test("of a profile are used", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const env = { AWS_SHARED_CREDENTIALS_FILE: shared(stage), AWS_PROFILE: "kaa" };
    const ended = await withEnvironment(stage, env);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("of the environment and of a profile at once: a snapshot is made, with one of them", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const own = { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: canaries.awsSecret };
    const ended = await withEnvironment(stage, {
      AWS_SHARED_CREDENTIALS_FILE: shared(stage),
      AWS_PROFILE: "kaa",
      ...own,
    });
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test.each([
    ["of a profile that does not exist", { AWS_PROFILE: "nope" }],
    ["that are nowhere", {}],
    ["of which half is missing", { AWS_ACCESS_KEY_ID: id }],
  ])("%s: that is told before anything is dumped", async (_, env) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await withEnvironment(stage, { AWS_SHARED_CREDENTIALS_FILE: shared(stage), ...env });
    expect(stage.database?.asked).toEqual([]);
    expect(ended.stderr).toContain("no credentials were found");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });
});

describe("CR-06: a file with a credential", () => {
  test.each([
    [0o600, false],
    [0o644, true],
    [0o666, true],
  ])("of mode %o is used, and whether all may read it is told (%s)", async (mode, isTold) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const path = join(stage.folder, "token");
    writeFileSync(path, `${canaries.vaultToken}\n`);
    chmodSync(path, mode);
    const argv = ["create", ...stage.cluster, ...createVault, "--vault-token-file", path];
    const ended = await stage.run(argv, { env: { VAULT_TOKEN: "" } });
    expect(/holds a credential and can be read by all users/.test(ended.stderr)).toBe(isTold);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test.each(["absent", "a directory", "too large"])("that is %s is a usage error", async (how) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const path = how === "a directory" ? stage.folder : join(stage.folder, "token");
    if (how === "too large") writeFileSync(path, "x".repeat(10_000_000), { mode: 0o600 });
    const argv = ["create", ...stage.cluster, ...createVault, "--vault-token-file", path];
    const ended = await stage.run(argv, { env: { VAULT_TOKEN: "" } });
    await expectInvariants(stage, before, ended, { command: "create", outcome: ["usage", "credentials"] });
  });

  test("and the configuration that names it is refused when others may write to it", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const path = join(stage.folder, "kaa-backup.yaml");
    writeFileSync(path, "parallelism: 2\n");
    chmodSync(path, 0o622);
    const ended = await stage.run(["create", ...stage.cluster, ...createVault, "--config", path]);
    await expectInvariants(stage, before, ended, { command: "read", outcome: "credentials" });
  });
});

test.each(["throw new Error('defect')", "void Promise.reject(new Error('defect'))"])(
  "CR-07: a defect (%s) tells no secret, neither on the terminal nor in a report of Node's that the operator has asked for",
  async (code) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const preload = join(stage.folder, "defect.mjs");
    writeFileSync(preload, `process.on("SIGUSR2", () => { process.report.writeReport(); ${code} })`);
    const { PATH = "" } = process.env;
    const options = `--import=${preload} --report-dir=${stage.folder} --report-filename=report.json`;
    const running = start(["create", ...stage.cluster, "--storage", "mariadb"], {
      env: { ...stage.environment(), PATH, NODE_OPTIONS: options },
      program: sources,
    });
    stage.s3.fault({
      operation: "UploadPart",
      action: async (run) => {
        running.child.kill("SIGUSR2");
        await new Promise((resolve) => setTimeout(resolve, 300));
        return run();
      },
    });
    const { code: exitCode, stdout, stderr, durationMs } = await running.ended;
    expect(stderr).toContain("error internal: defect");
    const report = readFileSync(join(stage.folder, "report.json"), "utf8");
    expect(canariesIn(report)).toEqual([]);
    const ended = { code: exitCode ?? -1, stdout, stderr, tookMs: durationMs };
    await expectInvariants(stage, before, ended, { command: "create", outcome: "internal" });
  },
);

describe("CR-08: an account that may not", () => {
  const refusal = (verb: string, resource: string, group: string) => {
    const says = `User "x" cannot ${verb} resource "${resource}" in API group "${group}" in the namespace "kaa"`;
    return JSON.stringify({ kind: "Status", message: `${resource} is forbidden: ${says}` });
  };
  const leases = "/apis/coordination.k8s.io/v1/namespaces/kaa/leases";

  test.each([
    ["list", "pods", "", (method: string, path: string) => method === "GET" && path.includes("/pods?")],
    [
      "get",
      "leases",
      "coordination.k8s.io",
      (method: string, path: string) => method === "GET" && path.startsWith(leases),
    ],
    ["create", "leases", "coordination.k8s.io", (method: string, path: string) => method === "POST" && path === leases],
    [
      "update",
      "leases",
      "coordination.k8s.io",
      (method: string, path: string) => method === "PUT" && path.startsWith(leases),
    ],
  ] as const)("%s %s: the rule is printed, and nothing is half done", async (verb, resource, group, isMeant) => {
    await using stage = await Stage.set({ pod });
    if (verb === "update") await stage.snapshot();
    const before = await stage.state();
    const body = refusal(verb, resource, group);
    stage.api.requestFault = (method, path) => (isMeant(method, path) ? { status: 403, body } : undefined);
    const ended = await stage.create();
    expect(ended.stderr).toContain(`{apiGroups: ["${group}"], resources: ["${resource}"], verbs: [${verb}]}`);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "forbidden" });
  });

  test("get pods: the rule is printed", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const body = refusal("get", "pods", "");
    stage.api.requestFault = (method, path) =>
      method === "GET" && /\/pods\/[^/?]+$/.test(path) ? { status: 403, body } : undefined;
    const ended = await stage.create();
    expect(ended.stderr).toContain('{apiGroups: [""], resources: ["pods"], verbs: [get]}');
    await expectInvariants(stage, before, ended, { command: "create", outcome: "forbidden" });
  });

  test.each(["pods/exec", "pods/portforward"])("create %s: the rule is printed, with both verbs", async (resource) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const refused = { kind: "refuse", status: 403, body: refusal("create", resource, "") } as const;
    stage.api.execFault = () => refused;
    stage.api.forwardFault = () => refused;
    const ended = await stage.create("--storage", resource === "pods/exec" ? "mariadb" : "vault");
    expect(ended.stderr).toContain(`{apiGroups: [""], resources: ["${resource}"], verbs: [get, create]}`);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "forbidden" });
  });
});
