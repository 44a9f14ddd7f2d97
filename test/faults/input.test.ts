/** Bad input (IN-01 to IN-08): what people, files and servers say that no program should believe. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { snapshotName } from "../../src/base/snapshot-name.ts";
import { mariadbInspection } from "../fakes/mariadb.ts";
import { type FakeAnswer, xml } from "../fakes/s3-operations.ts";
import { type FaultAction, refuse } from "../fakes/s3-server.ts";
import { expectInvariants } from "./invariants.ts";
import { bucket, Stage } from "./stage.ts";

vi.setConfig({ maxConcurrency: 4 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const forever = Number.POSITIVE_INFINITY;
const requests = (stage: Stage) => stage.api.requests.length + stage.s3.log.length;

/** Ends as a usage error before anything was asked of anybody. */
async function expectUsage(stage: Stage, argv: readonly string[], says: RegExp, env: Record<string, string> = {}) {
  const before = await stage.state();
  const asked = requests(stage);
  const ended = await stage.run(argv, { env });
  expect(ended.stderr).toMatch(says);
  expect(ended.stderr.length).toBeLessThan(5000);
  expect(requests(stage), "somebody was asked").toBe(asked);
  await expectInvariants(stage, before, ended, { command: "read", outcome: "usage" });
}

describe("IN-01: what nobody understands ends at once, and asks nobody:", () => {
  test.each([
    [["creat"], /did you mean create\?/],
    [[], /Which command\?/],
    [["create", "--bukcet", "x"], /unknown flag --bukcet[\s\S]*did you mean --bucket\?/],
    [["create", "extra"], /create takes no argument "extra"/],
    [["create", "--compression", "zstd"], /compression/],
    [["create", "--compression-level", "0"], /--compression-level is a number from 1 to 9/],
    [["create", "--compression-level", "x"], /--compression-level/],
    [["create", "--parallelism", "99"], /--parallelism/],
    [["create", "--min-size-ratio", "50"], /--min-size-ratio is a number above 0, up to 1/],
    [["create", "--min-size-ratio", "half"], /--min-size-ratio/],
    [["create", "--storage", "nope"], /there is no storage "nope"/],
    [["create", "--storage", "mariadb", "--all"], /exclude each other/],
    [["create", "--local", "--bucket", "b"], /exclude each other/],
    [["create", "--dir", "x"], /--dir needs --local/],
    [["create", "--namespace="], /no name of a namespace/],
    [["create", "--bucket="], /bucket/],
    [["create", "--request-timeout", "soon"], /no duration/],
    [["restore", "--date=", "--yes"], /date/],
    [["verify"], /Not enough|date/],
    [["prune", "--yes"], /what is to be kept/],
    [["prune", "--keep-last", "-1", "--yes"], /--keep-last/],
    [["prune", "--keep-last", "x", "--yes"], /--keep-last/],
    [["prune", "--keep-within", "1x", "--yes"], /no duration/],
    [["list", "-o", "tabel"], /tabel/],
    [["backup", "create_s3_all_backup"], /there is no command/],
  ] as const)("%j", async (argv, says) => {
    await using stage = await Stage.set({ pod });
    await expectUsage(stage, [...argv, "--kubeconfig", stage.api.kubeconfig], says);
  });
});

const hostile = [
  "../../etc/passwd",
  "kaa/../kube-system",
  "kaa?x=1",
  "kaa#x",
  "kaa\nX-Header: 1",
  "kaa\0",
  "%2e%2e%2f",
  "KAA",
  "-kaa",
  "kaa ",
  "ｋａａ",
  "x".repeat(10_000_000),
];

describe("IN-02: a name that is made to leave its place in a URL or path is refused:", () => {
  test.each(hostile.map((name) => [name.length > 100 ? "10 MB of x" : name, name] as const))("%j", async (_, name) => {
    await using stage = await Stage.set({ pod });
    const cluster = ["--kubeconfig", stage.api.kubeconfig];
    const create = ["create", "--storage", "mariadb", ...cluster];
    await expectUsage(stage, [...create, `--namespace=${name}`], /no name of a namespace/);
    await expectUsage(stage, ["list", ...cluster, `--source-namespace=${name}`], /no name of a namespace/);
    await expectUsage(stage, [...create, `--bucket=${name}`], /cannot be a bucket's name|at the root of a bucket/);
    const before = await stage.state();
    const asked = requests(stage);
    const verified = await stage.run(["verify", `--bucket=${bucket}`, ...cluster, "--", name]);
    expect(requests(stage) - asked).toBeLessThan(3); // a listing at most, and the name is not in it
    expect([2, 5]).toContain(verified.code);
    await expectInvariants(stage, before, verified, { command: "read", outcome: ["usage", "not-found"] });
  });
});

describe("IN-03: a configuration with", () => {
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghi"].map((c) => `${c}: &${c} [${`*${String.fromCharCode(c.charCodeAt(0) - 1)},`.repeat(9)}]`).join("\n")}`;

  test.each([
    ["bad YAML", "namespace: kaa\nbad: [a", /kaa-backup\.yaml:2: /],
    ["an alias bomb", bomb, /kaa-backup\.yaml:1: unknown key "a"/],
    ["a nest of brackets", `bucket: ${"[".repeat(20_000)}`, /kaa-backup\.yaml:1: /],
    ["an unknown key", "\nnamespaces: a", /:2: unknown key "namespaces"/],
    ["a wrong type", "parallelism: x", /:1: parallelism: expected a number/],
    ["what contradicts itself", "bucket: b\nlocal: true", /:2: .*exclude each other/],
    ["a credential in it", "storages:\n  mariadb:\n    credentials:\n      MARIADB_ROOT_PWD: hunter2", /:4: /],
    ["a namespace that is none", "namespace: ../x", /no name of a namespace/],
    ["binary rubbish", "\u0000\u0001\u0002", /kaa-backup\.yaml:1: |cannot read/],
  ])("%s: file, line and key are told", async (_, content, says) => {
    await using stage = await Stage.set({ pod });
    const path = join(stage.folder, "kaa-backup.yaml");
    writeFileSync(path, content);
    const argv = ["create", "--storage", "mariadb", "--kubeconfig", stage.api.kubeconfig];
    await expectUsage(stage, argv, says, { KAA_BACKUP_CONFIG: path });
    const { stderr } = await stage.run(argv, { env: { KAA_BACKUP_CONFIG: path } });
    expect(stderr).not.toContain("hunter2");
  });
});

describe("IN-04: Open Distro, which cannot be kept in a directory,", () => {
  test("is refused there when it is named, with where it can be kept", async () => {
    await using stage = await Stage.set({ pod, engine: {} });
    const where = ["--local", "--dir", stage.directory];
    await expectUsage(stage, ["create", ...stage.cluster, "--storage", "opendistro", ...where], /only in S3/);
    const restore = ["restore", ...stage.cluster, "--date", "24-11-2026-00-00-00", "--yes", "--storage", "opendistro"];
    await expectUsage(stage, [...restore, ...where], /only in S3/);
  });

  test("is left out when all are meant, and that is told", async () => {
    await using stage = await Stage.set({ pod, engine: {} });
    const before = await stage.state();
    const ended = await stage.create("--all", "--local", "--dir", stage.directory);
    expect(ended.stderr).toMatch(/Open Distro is left out/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});

describe("IN-05: names made to act on a terminal or a shell", () => {
  const evil = "\u001b]0;owned\u0007\u001b[2J\u202egnp.exe\u0000$(touch /tmp/kaa-owned)`id`';drop";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not come through
  const raw = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

  test("of pods, labels and containers are made visible, and nothing is run", async () => {
    await using stage = await Stage.set({ pod });
    const [mariadb, ...rest] = stage.api.pods;
    if (mariadb === undefined) throw new Error("no pod");
    const before = await stage.state();
    stage.api.pods = [{ ...mariadb, name: evil, containers: [evil, `${evil}2`] }, ...rest];
    const listed = await stage.run(["storages", ...stage.cluster]);
    expect(listed.stderr + listed.stdout).not.toMatch(raw);
    const ended = await stage.create();
    expect(ended.stderr + ended.stdout).not.toMatch(raw);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });

  test("of databases are made visible wherever they are shown", async () => {
    await using stage = await Stage.set();
    const inspection = { ...mariadbInspection, databases: [evil], notTransactional: [evil] };
    writeFileSync(join(stage.mariadb, "inspection.json"), `${JSON.stringify(inspection)}\n`);
    const before = await stage.state();
    const made = await stage.create("-v");
    await expectInvariants(stage, before, made, { command: "create", outcome: ["ok", "attention"] });
    const date = [...stage.s3.bucket(bucket).objects.keys()][0]?.replace(".tar.gz", "") ?? "";
    const runs = [
      ["storages", ...stage.cluster],
      ["describe", date, ...stage.cluster],
      ["describe", date, ...stage.cluster, "-o", "json"],
      ["describe", date, ...stage.cluster, "-o", "yaml"],
      ["list", ...stage.cluster, "-o", "wide"],
      ["restore", ...stage.cluster, "--date", date, "--dry-run"],
    ];
    for (const argv of [[], ...runs]) {
      const ended = argv.length === 0 ? made : await stage.run(argv);
      expect(ended.stderr + ended.stdout, argv.join(" ")).not.toMatch(raw);
    }
  });

  test("of the API server's and the store's errors are made visible", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    stage.api.requestFault = (_method, path) =>
      path.includes("/pods?") ? { status: 400, body: JSON.stringify({ message: evil }) } : undefined;
    const refused = await stage.create();
    expect(refused.stderr).not.toMatch(raw);
    await expectInvariants(stage, before, refused, { command: "create", outcome: "cluster" });
    const evilXml = evil.replaceAll("\u0000", "").replaceAll("\u001b", "&#27;").replaceAll("\u0007", "&#7;");
    const body = `<Error><Code>X</Code><Message>${evilXml}</Message></Error>`;
    stage.s3.fault({ operation: "HeadObject", times: forever, action: refuse(400, "X", evil) });
    stage.s3.fault({ operation: "CreateMultipartUpload", times: forever, action: () => ({ status: 400, body }) });
    const failed = await stage.create();
    expect(failed.stderr).not.toMatch(raw);
    await expectInvariants(stage, before, failed, { command: "create", outcome: "object-store" });
  });
});

describe("IN-06: a restore that nobody has confirmed", () => {
  test("and a delete, without a terminal", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const before = await stage.state();
    const restored = await stage.run(["restore", ...stage.cluster, "--date", date]);
    await expectInvariants(stage, before, restored, { command: "restore", outcome: "refused" });
    const deleted = await stage.run(["delete", date, ...stage.cluster]);
    await expectInvariants(stage, before, deleted, { command: "delete", outcome: "refused" });
  });

  test.each(["", "yes\n", "other\n", "KAA\n"])("on a terminal, where %j was typed for the namespace", async (stdin) => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const before = await stage.state();
    const asked = await stage.run(["restore", ...stage.cluster, "--date", date], { isInteractive: true, stdin });
    // A terminal shows the line end that was typed.
    const ended = { ...asked, stderr: asked.stderr.replace(/^(Type .*?: )/m, "$1\n") };
    await expectInvariants(stage, before, ended, { command: "restore", outcome: ["refused", "interrupted"] });
  });
});

describe("IN-07:", () => {
  test("ten thousand pods are listed in pages, and the storage among them is found", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const other = { namespace: "kaa", labels: { app: "other" }, env: {} };
    const others = Array.from({ length: 10_000 }, (_, index) => ({ ...other, name: `other-${index}` }));
    stage.api.pods = [...others, ...stage.api.pods];
    const ended = await stage.create();
    expect(stage.api.requests.filter(({ url }) => url.includes("/pods?")).length).toBeGreaterThan(20);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("a server that ignores pages and sends more at once than a call has arguments", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const body = JSON.stringify({ metadata: {}, items: Array.from({ length: 300_000 }, () => ({})) });
    stage.api.requestFault = (_method, path) => (path.includes("/pods?") ? { status: 200, body } : undefined);
    const ended = await stage.create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });

  test("a hundred thousand snapshots are listed in pages", async () => {
    await using stage = await Stage.set({ pod });
    stage.s3.bucket(bucket);
    const names = Array.from({ length: 100_000 }, (_, index) =>
      snapshotName(new Date(Date.UTC(2020) + index * 977_000)),
    );
    stage.s3.fault({ operation: "ListObjectsV2", times: forever, action: (_run, { query }) => pageOf(names, query) });
    const ended = await stage.run(["list", ...stage.cluster, "-o", "name"]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout.trim().split("\n")).toEqual(names.toReversed());
    expect(stage.s3.log).toHaveLength(100);
    expect(ended.tookMs).toBeLessThan(60_000);
  });

  test("no storage at all is an error, and no snapshot", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    stage.api.pods = stage.api.pods.map((each) => ({ ...each, labels: { app: "other" } }));
    const ended = await stage.create("--all");
    expect(ended.stderr).toContain("nothing to back up");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });
});

function pageOf(names: readonly string[], query: URLSearchParams): FakeAnswer {
  const from = Number(query.get("continuation-token") ?? 0);
  const to = from + 1000;
  const keys = names.slice(from, to).map((name) => `<Contents><Key>${name}.tar.gz</Key><Size>9</Size></Contents>`);
  const more = to < names.length ? `<NextContinuationToken>${to}</NextContinuationToken>` : "";
  return xml("ListBucketResult", `<IsTruncated>${to < names.length}</IsTruncated>${more}${keys.join("")}`);
}

const endlessBytes = 200 * 1024 * 1024;

describe("IN-08: the API server's answer is", () => {
  test.each([
    ["no JSON", "<html>"],
    ["cut", '{"items": ['],
    ["nested a million deep", `${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}`],
    ["of other types", '{"metadata": 7, "items": {"a": null}}'],
    ["null", "null"],
    ["a list of rubbish", '{"items": [null, 7, "x", [], {"metadata": {"labels": 3}}]}'],
    ["a page that repeats for ever", '{"metadata": {"continue": "x"}, "items": []}'],
    ["endless", Buffer.alloc(endlessBytes, 0x20).toString("latin1")],
  ])("%s", async (_, body) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    stage.api.requestFault = (_method, path) => (path.includes("/pods?") ? { status: 200, body } : undefined);
    const ended = await stage.create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: ["cluster", "storage-not-ready"] });
  });
});

describe("IN-08: the store's answer is", () => {
  const laughs = [..."bcdefghij"].map((name, index) => {
    const previous = String.fromCharCode("a".charCodeAt(0) + index);
    return `<!ENTITY ${name} "${`&${previous};`.repeat(10)}">`;
  });
  const head = "<?xml version='1.0'?>";
  const listOf = (name: string) =>
    `<ListBucketResult><IsTruncated>false</IsTruncated><Name>${name}</Name></ListBucketResult>`;

  test.each([
    ["an XML bomb", `${head}<!DOCTYPE x [<!ENTITY a "lol">${laughs.join("")}]>${listOf("&j;")}`],
    ["of an external entity", `${head}<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>${listOf("&a;")}`],
    ["nested a hundred thousand deep", `${head}${"<a>".repeat(100_000)}${"</a>".repeat(100_000)}`],
    ["no XML", "\u0000\u0001<<<>>>"],
    ["endless", Buffer.alloc(endlessBytes, 0x20)],
  ] as const)("%s", async (_, body) => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const before = await stage.state();
    const action: FaultAction = () => ({ status: 200, body });
    const heapBefore = process.memoryUsage().rss;
    stage.s3.fault({ operation: "ListObjectsV2", times: forever, action });
    const verified = await (await stage.quickly()).verify(date);
    expect(verified.stderr).not.toContain("root:x:0");
    expect(process.memoryUsage().rss - heapBefore).toBeLessThan(1.5 * 1024 ** 3);
    await expectInvariants(stage, before, verified, { command: "read", outcome: ["object-store", "not-found"] });
  });
});
