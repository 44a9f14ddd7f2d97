/** Faults of commands in pods (EX-01 to EX-31), each in a whole run of the program: what a create makes of it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import { defaultLiveness } from "../../src/cluster/socket.ts";
import type { ExecFault } from "../fakes/api-server.ts";
import { expectInvariants } from "./invariants.ts";
import { noRetry, quickLiveness } from "./quick.ts";
import { Stage } from "./stage.ts";

// Most of these wait: for a pause to be over, for a process in the pod to end.
vi.setConfig({ maxConcurrency: 3 });
const test = oneAfterAnother.concurrent;

const always = Number.POSITIVE_INFINITY;
/** More than the program reads before it looks, and less than the dump has. */
const afterBytes = 100_000;

/** True for the command that dumps databases: the only one with arguments over stdin and compressed output. */
function isDump(argv: readonly string[]): boolean {
  return argv[5] !== "none" && argv[8] === "gzip";
}

/** The fault meets the dump, so often. */
function strikeDump(stage: Stage, fault: ExecFault, times = always): { readonly dumps: () => number } {
  let dumps = 0;
  stage.api.execFault = (argv) => {
    if (!isDump(argv)) return undefined;
    dumps += 1;
    return dumps <= times ? fault : undefined;
  };
  return { dumps: () => dumps };
}

/** The fault meets every command. */
function strikeAll(stage: Stage, fault: ExecFault): void {
  stage.api.execFault = () => fault;
}

function refused(status: number, body: string | object, headers: Record<string, string> = {}): ExecFault {
  return { kind: "refuse", status, body: typeof body === "string" ? body : JSON.stringify(body), headers };
}

const lost: readonly (readonly [string, ExecFault])[] = [
  ["EX-01: the connection is reset", { kind: "reset", afterBytes }],
  ["EX-02: it is closed properly, with code 1000", { kind: "close", afterBytes }],
  ["EX-03: it is closed with code 1001", { kind: "close", afterBytes, code: 1001 }],
  ["EX-03: it is closed with code 1011", { kind: "close", afterBytes, code: 1011 }],
  ["EX-03: it ends without a close frame", { kind: "fin", afterBytes }],
  ["EX-03: the socket is gone (1006)", { kind: "close", afterBytes, code: 1006 }],
  ["EX-04: nothing arrives any more", { kind: "silence", afterBytes }],
  ["EX-10: the status is no JSON", { kind: "bad-status" }],
  ["EX-10: the status has an unknown reason", { kind: "unknown-reason" }],
  ["EX-10: the status never ends", { kind: "endless-status" }],
  ["EX-20: a frame has channel 7", { kind: "channel-7" }],
  ["EX-20: a frame is text", { kind: "text" }],
  ["EX-21: a frame has 200 MiB", { kind: "huge-frame" }],
  ["EX-31: a proxy swallows the status", { kind: "no-status" }],
];

const incomplete: readonly (readonly [string, ExecFault])[] = [
  ["EX-05: the status says success early", { kind: "early-success", afterBytes }],
  ["EX-06: the last frames are lost", { kind: "lose-last-frame" }],
  ["EX-08: a frame comes twice", { kind: "duplicate", afterBytes }],
  ["EX-08: frames come out of order", { kind: "swap", afterBytes }],
  ["EX-08: a frame is damaged", { kind: "flip", afterBytes }],
];

describe.each([
  { outcome: "stream-lost", faults: lost },
  { outcome: "storage-failed", faults: incomplete },
] as const)("a dump whose connection goes wrong is not published ($outcome)", ({ outcome, faults }) => {
  test.each(faults)("%s", async (_, fault) => {
    await using stage = await Stage.set();
    await stage.snapshot();
    const before = await stage.state();
    const { dumps } = strikeDump(stage, fault);
    const ended = await (await stage.quickly()).create();
    expect(dumps(), "it is tried three times").toBe(3);
    await expectInvariants(stage, before, ended, { command: "create", outcome });
  });
});

test.each(lost.slice(0, 3))("%s, once: the dump begins anew and the snapshot is whole", async (_, fault) => {
  await using stage = await Stage.set();
  const before = await stage.state();
  const { dumps } = strikeDump(stage, fault, 1);
  const ended = await stage.create();
  expect(dumps()).toBe(2);
  expect(ended.stderr).toMatch(/attempt 1 failed: pod "kaa\/kaa-mariadb-0"/);
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

test("EX-31: the message says that a proxy may have swallowed the status", async () => {
  await using stage = await Stage.set();
  strikeDump(stage, { kind: "no-status" });
  const { stderr } = await (await stage.quickly({ retry: noRetry })).create();
  expect(stderr).toMatch(/a proxy or gateway in front of the API server swallows it/);
});

test("EX-04: without a test's haste, silence is noticed within a minute", () => {
  const { pingMs, silenceMs } = defaultLiveness;
  expect(silenceMs + pingMs).toBeLessThan(60_000);
});

test.each([
  ["EX-07: the status overtakes the last output", { kind: "status-first" }],
  ["EX-10: the status comes byte by byte", { kind: "split-status" }],
  ["EX-20: the server closes a channel", { kind: "close-channel" }],
  ["EX-20: frames are empty", { kind: "empty-frames" }],
] as const)("%s: the snapshot is whole", async (_, fault) => {
  await using stage = await Stage.set();
  const before = await stage.state();
  strikeAll(stage, fault);
  const ended = await stage.create();
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

test.each([1, 2, 137, 143])("EX-09: the dump tool ends with exit code %i", async (code) => {
  await using stage = await Stage.set();
  const before = await stage.state();
  const echo = `echo "mariadb-dump: mysql://root:$MYSQL_PWD@localhost" >&2; echo "ERROR 2013: lost at row 7" >&2`;
  const end = code === 137 ? "kill -KILL $$" : code === 143 ? "kill -TERM $$" : `exit ${code}`;
  writeFileSync(join(stage.mariadb, "after-dump"), `${echo}; ${end}`);
  const ended = await (await stage.quickly()).create();
  expect(ended.stderr).toContain(`exit code ${code}`);
  if (code === 137) expect(ended.stderr).toContain("out of memory");
  await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
});

test("EX-11: over the older protocol a backup and a restore work", async () => {
  await using stage = await Stage.set();
  stage.api.protocols = ["v4.channel.k8s.io"];
  const date = await stage.snapshot();
  writeFileSync(join(stage.mariadb, "data", "databases.sql"), "destroyed");
  const before = await stage.state();
  const ended = await stage.restore(date, "--storage", "mariadb");
  await expectInvariants(stage, before, ended, { command: "restore", outcome: "ok" });
  expect((await stage.state()).source).not.toBe(before.source);
});

test.each([
  ["no protocol", { kind: "protocol", name: "" }],
  ["one that nobody offered", { kind: "protocol", name: "v9.channel.k8s.io" }],
] as const)("EX-12: the server picks %s", async (_, fault) => {
  await using stage = await Stage.set();
  const before = await stage.state();
  strikeAll(stage, fault);
  const ended = await stage.create();
  expect(ended.stderr).toMatch(/v5\.channel\.k8s\.io|protocol/);
  await expectInvariants(stage, before, ended, { command: "create", outcome: "cluster" });
});

test.each([
  [400, "bad request", "cluster"],
  [404, { message: 'pods "kaa-mariadb-0" not found' }, "storage-not-ready"],
  [409, { message: "conflict" }, "cluster"],
  [500, { message: "container not found" }, "cluster"],
  [502, "<html>bad gateway</html>", "cluster"],
] as const)("EX-13: the upgrade is refused with %i", async (status, body, outcome) => {
  await using stage = await Stage.set();
  const before = await stage.state();
  strikeAll(stage, refused(status, body));
  const ended = await stage.create();
  if (status === 502) expect(ended.stderr).toContain("a proxy answered");
  await expectInvariants(stage, before, ended, { command: "create", outcome });
});

test.each([429, 503])(
  "EX-13: an upgrade refused with %i is tried again after the time the server asks for",
  async (status) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    const asked: number[] = [];
    stage.api.execFault = () => {
      asked.push(performance.now());
      return asked.length === 1 ? refused(status, { message: "busy" }, { "retry-after": "2" }) : undefined;
    };
    const ended = await stage.create();
    expect((asked[1] ?? 0) - (asked[0] ?? 0)).toBeGreaterThan(1900);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  },
);

test.each(["create", "get"])("EX-14: the verb %s for pods/exec is missing", async (verb) => {
  await using stage = await Stage.set();
  const before = await stage.state();
  const says = `User "x" cannot ${verb} resource "pods/exec" in API group "" in the namespace "kaa"`;
  strikeAll(stage, refused(403, { message: `pods "kaa-mariadb-0" is forbidden: ${says}` }));
  const ended = await stage.create();
  expect(ended.stderr).toContain('{apiGroups: [""], resources: ["pods/exec"], verbs: [get, create]}');
  await expectInvariants(stage, before, ended, { command: "create", outcome: "forbidden" });
});

describe("a dump that is silent for long", () => {
  const quietDump = "sleep 3";

  test("EX-15: pings keep a load balancer from cutting it", async () => {
    await using stage = await Stage.set();
    stage.api.idleCut = { afterMs: 1000, counts: "everything" };
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "before-dump"), quietDump);
    const ended = await (await stage.quickly({ retry: noRetry })).create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("EX-15: without pings it is cut, and not taken for a whole one", async () => {
    await using stage = await Stage.set();
    stage.api.idleCut = { afterMs: 1000, counts: "everything" };
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "before-dump"), quietDump);
    const liveness = { ...quickLiveness, pingMs: 30_000, heartbeatMs: 30_000 };
    const ended = await (await stage.quickly({ retry: noRetry, liveness })).create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "stream-lost" });
  });

  test("EX-16: bytes on stdin keep the kubelet from cutting it, for which pings do not count", async () => {
    await using stage = await Stage.set();
    stage.api.idleCut = { afterMs: 1000, counts: "data" };
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "before-dump"), quietDump);
    const ended = await (await stage.quickly({ retry: noRetry })).create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});

test("EX-17: a slow store slows the pod, and the silence of a stream that nobody reads kills nothing", async () => {
  await using stage = await Stage.set({ rows: 60_000, s3: { bytesPerSecond: 800_000 } });
  const before = await stage.state();
  const base = process.memoryUsage().rss;
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss - base);
  }, 100);
  const ended = await (await stage.quickly({ retry: noRetry })).create();
  clearInterval(watch);
  expect(ended.tookMs, "the store was the slower side").toBeGreaterThan(3 * quickLiveness.silenceMs);
  expect(most).toBeLessThan(200 * 1024 * 1024);
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

test("EX-18: endless words on stderr neither fill memory nor stop the dump", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  writeFileSync(join(stage.mariadb, "before-dump"), "head -c 64000000 /dev/zero | tr '\\0' e >&2");
  const ended = await (await stage.quickly({ retry: noRetry })).create();
  expect(ended.stderr.length).toBeLessThan(20_000);
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

test("EX-19: log lines behind a dump", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  writeFileSync(join(stage.mariadb, "after-dump"), "echo '2026-11-25T10:00:00 [Note] slow query'");
  const ended = await (await stage.quickly({ retry: noRetry })).create();
  await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-failed" });
});

describe("EX-22: the pod is evicted in mid-dump", () => {
  const evict = (stage: Stage, later: () => void) => {
    const { dumps } = strikeDump(stage, { kind: "evict", afterBytes }, 1);
    stage.api.requestFault = () => {
      if (dumps() > 0) later();
      return undefined;
    };
  };

  test("its successor is dumped", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    evict(stage, () => {
      stage.api.uid = "22222222-2222-2222-2222-222222222222";
    });
    const ended = await (await stage.quickly()).create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("no successor comes", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    evict(stage, () => {
      stage.api.pods = stage.api.pods.filter(({ name }) => name !== "kaa-mariadb-0");
    });
    const ended = await (await stage.quickly()).create();
    expect(ended.stderr).toContain("mariadb");
    await expectInvariants(stage, before, ended, {
      command: "create",
      outcome: ["storage-not-ready", "storage-failed"],
    });
  });
});

test("EX-23: another pod has taken the name before anything is sent to it", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  stage.api.execFault = () => {
    stage.api.uid = crypto.randomUUID();
    return undefined;
  };
  const ended = await stage.create();
  expect(ended.stderr).toContain("was replaced while we worked with it");
  await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
});

describe("EX-24: the storage's pods", () => {
  test.each([
    ["no pod", () => []],
    ["a pod that is not ready", (pod: object) => [{ ...pod, ready: false }]],
    ["a pod whose init container still runs", (pod: object) => [{ ...pod, ready: false, phase: "Pending" }]],
    ["two pods that may both be the primary", (pod: object) => [pod, { ...pod, name: "kaa-mariadb-1" }]],
    ["containers of which none is MariaDB's", (pod: object) => [{ ...pod, containers: ["a", "b"], containerEnv: [] }]],
  ])("%s: the candidates are named, nothing is guessed", async (_, change) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    const [pod, ...others] = stage.api.pods;
    const changed = change(pod ?? {}) as unknown as Stage["api"]["pods"]; // changed copies of the one given
    stage.api.pods = [...changed, ...others];
    const ended = await stage.create();
    if (changed.length > 0) expect(ended.stderr).toContain("kaa-mariadb-0");
    if (changed.length > 1) expect(ended.stderr).toContain("kaa-mariadb-1");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });
});

describe("EX-25: the API server goes away in mid-dump", () => {
  test("and comes back: the dump begins anew", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    const restart = async () => {
      await stage.api.close();
      await sleep(500);
      await stage.api.listen();
    };
    strikeDump(stage, { kind: "call", afterBytes, action: () => void restart() }, 1);
    const ended = await stage.create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("for good", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    strikeDump(stage, { kind: "call", afterBytes, action: () => void stage.api.close() }, 1);
    const ended = await (await stage.quickly()).create();
    // What the lock says stays: nobody could be told.
    stage.api.leases.clear();
    await expectInvariants(stage, before, ended, { command: "create", outcome: ["stream-lost", "cluster"] });
  });
});

describe("EX-26: the container lacks", () => {
  /** The pod's PATH with these tools only. */
  const withTools = (stage: Stage, hasMariadb: boolean, names: readonly string[]) => {
    const folder = join(stage.folder, "tools");
    stage.shell(`mkdir '${folder}'; for name in ${names.join(" ")}; do ln -s "$(command -v $name)" '${folder}'; done`);
    const [pod, ...rest] = stage.api.pods;
    if (pod === undefined) throw new Error("no pod");
    const path = hasMariadb ? `${folder}:${join(stage.mariadb, "bin")}` : folder;
    stage.api.pods = [{ ...pod, env: { ...pod.env, PATH: path } }, ...rest];
  };
  const mariadbMissing = /mariadb: not found/;
  const basic = ["sh", "cat", "tee", "wc", "sleep", "head", "tr", "sed", "gzip", "grep", "rm"];

  test.each([
    ["the database's tools", [...basic, "sha256sum"], mariadbMissing],
    ["a tool to hash with", basic, /neither openssl nor sha256sum/],
    ["a shell", [], /could not be started/],
  ] as const)("%s: found before anything is dumped", async (_, tools, says) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    withTools(stage, says !== mariadbMissing, tools);
    const { dumps } = strikeDump(stage, { kind: "text" });
    const ended = await stage.create();
    expect(dumps()).toBe(0);
    expect(ended.stderr).toMatch(says);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "storage-not-ready" });
  });
});

test("EX-27: a run that is stopped in mid-dump ends what it has begun in the pod", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  const stopping = new AbortController();
  const stop = () => stopping.abort(new UserError("interrupted", "stopped by Ctrl-C"));
  writeFileSync(join(stage.mariadb, "after-dump"), "sleep 300");
  strikeDump(stage, { kind: "call", afterBytes, action: stop });
  const argv = ["create", ...stage.cluster, "--storage", "mariadb"];
  const ended = await stage.run(argv, { signal: stopping.signal });
  await expectInvariants(stage, before, ended, { command: "create", outcome: "interrupted", withinMs: 20_000 });
});

describe("EX-28: the API server's certificate", () => {
  test.each([
    ["is expired", () => Stage.certificate("IP:127.0.0.1", { days: -1 })],
    ["is of another host", () => Stage.certificate("DNS:elsewhere.example")],
    ["is not of the authority that the kubeconfig names", () => Stage.certificate("IP:127.0.0.1", { isForeign: true })],
  ])("%s", async (_, certificate) => {
    await using stage = await Stage.set({ certificate: certificate() });
    const before = await stage.state();
    const ended = await stage.create();
    expect(ended.stderr).toMatch(/certificate|altnames/i);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "cluster" });
  });

  test("is not checked when the operator says so, which is told", async () => {
    await using stage = await Stage.set({ certificate: Stage.certificate("DNS:elsewhere.example") });
    const before = await stage.state();
    const ended = await stage.create("--insecure-skip-tls-verify");
    expect(ended.stderr).toMatch(/^warning nobody checks that https:\S+ is the right API server/m);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});

test("EX-29: a container that answers a question without end", async () => {
  await using stage = await Stage.set();
  const before = await stage.state();
  writeFileSync(join(stage.mariadb, "before-sql"), "exec cat /dev/zero");
  const ended = await stage.create();
  expect(ended.stderr).toContain('pod "kaa-mariadb-0" answers without end');
  await expectInvariants(stage, before, ended, { command: "create", outcome: "deadline" });
});

describe("EX-30: the kubeconfig's credential plugin", () => {
  const useToken = 'echo \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":';

  test.each([
    ["prints rubbish", "echo rubbish"],
    ["prints an empty credential", `${useToken}null}'`],
    ["fails", "echo 'no session' >&2; exit 1"],
  ])("%s", async (_, script) => {
    await using stage = await Stage.set();
    const before = await stage.state();
    stage.usePlugin(script);
    const ended = await stage.create();
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });

  test("hangs", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    stage.usePlugin("exec sleep 5");
    const ended = await (await stage.quickly({ credentialsMs: 500 })).create();
    expect(ended.stderr).toContain("no answer in 0.5 s");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });

  test("gives tokens that expire during the run: new ones are asked for, running streams go on", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    const calls = join(stage.folder, "plugin-calls");
    const expiry = `"expirationTimestamp":"'$(date -u -d '+1 second' +%Y-%m-%dT%H:%M:%SZ)'"`;
    stage.usePlugin(`echo call >>'${calls}'; ${useToken}{"token":"t",${expiry}}}'`);
    writeFileSync(join(stage.mariadb, "before-dump"), "sleep 2");
    const ended = await (await stage.quickly({ retry: noRetry })).create();
    expect(stage.shell(`wc -l <'${calls}'`)).toMatch(/^([2-9]|\d\d)/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});
