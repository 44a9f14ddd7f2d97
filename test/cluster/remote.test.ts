/** When a command counts as a success: every part of the pod's own report must be there and agree with what arrived. */
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { collect, type Digest, digestOf } from "../../src/base/bytes.ts";
import { channel, frame } from "../../src/cluster/channels.ts";
import type { Cluster, Command, Target } from "../../src/cluster/cluster.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { secretLines } from "../../src/cluster/remote.ts";
import { FakeApiServer } from "../fakes/api-server.ts";

let server: FakeApiServer;
let cluster: Cluster;
let targets: ReadonlyMap<string, Target>;
/** What the function behind db-1 was asked; db-0's commands run. */
const answered: string[] = [];

beforeAll(async () => {
  server = new FakeApiServer([
    { namespace: "kaa", name: "db-0", labels: {}, env: { PATH: process.env["PATH"] ?? "" } },
    { namespace: "kaa", name: "db-1", labels: {}, env: {}, answer: ({ script }) => `${answered.push(script)}` },
  ]);
  await server.start();
  const liveness = { pingMs: 50, silenceMs: 600, handshakeMs: 3000, closeMs: 300, heartbeatMs: 30_000 };
  cluster = await connectCluster({ kubeconfig: server.kubeconfig, liveness });
  const pods = await cluster.listPods("kaa", AbortSignal.timeout(5000));
  targets = new Map(pods.map((pod) => [pod.name, { pod, container: "main" }]));
});
afterAll(() => server.stop());
beforeEach(() => {
  server.execFault = () => undefined;
  server.requestFault = () => undefined;
});

function begin(command: Partial<Command>, name = "db-0") {
  return cluster.execute(targets.get(name)!, { script: "x", signal: AbortSignal.timeout(30_000), ...command });
}

async function execute(command: Partial<Command>, name?: string) {
  const execution = begin(command, name);
  const output = await collect(execution.output, 1 << 30);
  return { output, ...(await execution.done) };
}

const output = gzipSync("the output");
const plain = digestOf(Buffer.from("the output"));
const input = Buffer.from("the input");
const words = ({ bytes, sha256 }: Digest) => `${bytes} ${sha256}`;
/** What the wrapper reports of a restore that went well and answered in gzip. */
const whole = {
  received: words(digestOf(input)),
  decoder: "0",
  status: "0",
  plain: words(plain),
  encoder: "0",
  sent: words(digestOf(output)),
};
type Report = { readonly [Part in keyof typeof whole]?: string | undefined };
const success = { status: "Success" };
const exited = (code: number) => ({
  status: "Failure",
  message: `command terminated with exit code ${code}`,
  reason: "NonZeroExitCode",
  details: { causes: [{ reason: "ExitCode", message: String(code) }] },
});

/** The pod answers with the output, this report and this status. */
function answer({
  report = {},
  said = "",
  status = success,
  isCut = false,
  sent = output,
}: {
  report?: Report;
  said?: string;
  status?: object;
  isCut?: boolean;
  sent?: Buffer;
}): void {
  server.execFault = ([, , , , nonce]) => {
    const parts = Object.entries({ ...whole, ...report }).filter(([, value]) => value !== undefined);
    const line = `\nkaa-backup ${nonce} ${parts.map((each) => each.join(" ")).join(" ")}${isCut ? "" : "\n"}`;
    const messages = [
      frame(channel.stdout, Buffer.alloc(0)),
      frame(channel.stdout, sent),
      frame(channel.stderr, Buffer.from(`${said}${line}`)),
      frame(channel.close, Buffer.from([channel.stdout])),
      frame(channel.status, Buffer.from(JSON.stringify(status))),
      frame(channel.status, Buffer.from("\n")), // which is not another status
    ];
    return { kind: "messages", messages };
  };
}

async function* once(bytes: Buffer) {
  yield bytes;
}

const restore = () =>
  execute({ input: { bytes: once(input), digest: digestOf(input), encoding: "gzip" }, outputEncoding: "gzip" });

describe("the pod's report", () => {
  test("that agrees with all that came and went is a success", async () => {
    answer({ said: "two warnings" });
    await expect(restore()).resolves.toEqual({ output, plain, sent: digestOf(output), stderr: "two warnings" });
  });

  const other = words(digestOf(Buffer.from("other")));
  test.each<[string, Parameters<typeof answer>[0], object]>([
    ["is missing", { isCut: true }, { outcome: "storage-failed", message: /the pod's own report is missing/ }],
    ["names no end of the command", { report: { status: undefined } }, { message: /no successful end of the command/ }],
    ["names another end than Kubernetes", { report: { status: "1" } }, { message: /no successful end of the command/ }],
    [
      "names other input",
      { report: { received: other } },
      { outcome: "stream-lost", message: /received 5 of 9 bytes/ },
    ],
    [
      "names other input, and a command that failed for it",
      { report: { received: other, status: "137" }, status: exited(137) },
      { outcome: "stream-lost", message: /received 5 of 9 bytes/ },
    ],
    [
      "names no hash of the input",
      { report: { received: "9 -" } },
      { outcome: "storage-not-ready", message: /sha256sum/ },
    ],
    ["says that decompression failed", { report: { decoder: "1" } }, { message: /decompression failed/ }],
    ["names other output", { report: { sent: other } }, { message: /the pod sent 5 bytes, \d+ arrived/ }],
    ["names no hash of the output", { report: { sent: "30" } }, { outcome: "storage-not-ready", message: /sha256sum/ }],
    ["says that compression failed", { report: { encoder: "1" } }, { message: /compression failed/ }],
    ["names no hash of what was compressed", { report: { plain: "" } }, { outcome: "storage-not-ready" }],
  ])("that %s is none", async (_, given, { message = /./, ...expected }: { message?: RegExp }) => {
    answer(given);
    await expect(restore()).rejects.toMatchObject({ message: expect.stringMatching(message), ...expected });
  });
});

test.each<[string, Parameters<typeof answer>[0], object]>([
  ["fails without a word", { status: exited(3) }, { message: expect.stringMatching(/exit code 3: no message$/) }],
  [
    "is killed",
    { status: exited(137), said: "dumping" },
    { message: expect.stringMatching(/out of memory.*: dumping$/) },
  ],
  [
    "is ended by the server",
    { status: { status: "Failure", message: "the node has gone" } },
    { outcome: "stream-lost" },
  ],
  [
    "cannot be started",
    { status: { status: "Failure", message: "no such file" }, sent: Buffer.alloc(0) },
    { outcome: "storage-not-ready", message: expect.stringContaining("could not be started: no such file") },
  ],
])("a command that %s is told as such", async (_, given, expected) => {
  answer(given);
  await expect(restore()).rejects.toMatchObject(expected);
});

describe("input", () => {
  async function* endless() {
    while (true) yield Buffer.alloc(100_000, "x");
  }

  test("that is more than its digest says is refused, and no command takes it for whole", async () => {
    const digest = digestOf(Buffer.alloc(150_000, "x"));
    await expect(execute({ input: { bytes: endless(), digest, encoding: "identity" } }, "db-1")).rejects.toMatchObject({
      outcome: "invalid-snapshot",
    });
    expect(answered).toEqual([]);
  });

  test("of a command that has ended is not read on", async () => {
    let taken = 0;
    async function* counted() {
      for await (const chunk of endless()) {
        taken += chunk.byteLength;
        await new Promise((resolve) => setTimeout(resolve, 20));
        yield chunk;
      }
    }
    server.execFault = () => ({ kind: "evict", afterBytes: 0 });
    const digest = { bytes: 1e12, sha256: "0".repeat(64) };
    const command = {
      script: "head -c 200000 /dev/zero; cat >/dev/null",
      input: { bytes: counted(), digest, encoding: "identity" },
    };
    await expect(execute(command as Partial<Command>)).rejects.toThrow("exit code 137");
    const before = taken;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(taken - before).toBeLessThanOrEqual(100_000);
  });

  test("that a busy command reads late is waited for, while the API server answers", async () => {
    const bytes = Buffer.alloc(30_000_000, "x");
    const { output } = await execute({
      script: "sleep 2; wc -c",
      input: { bytes: once(bytes), digest: digestOf(bytes), encoding: "identity" },
    });
    expect(Number(output.toString())).toBe(bytes.byteLength);
  });
});

test("a consumer that waits while the pod has nothing to say keeps the connection", async () => {
  server.idleCut = { afterMs: 1000, counts: "everything" };
  try {
    const script = "head -c 1500000 /dev/zero; sleep 4; echo end";
    const { output } = begin({ script });
    let total = 0;
    for await (const chunk of output) {
      if (total === 0) await new Promise((resolve) => setTimeout(resolve, 3000));
      total += chunk.byteLength;
    }
    expect(total).toBe(1_500_004);
  } finally {
    server.idleCut = undefined;
  }
});

test("a command that says nothing is kept by bytes on its stdin", async () => {
  server.idleCut = { afterMs: 1000, counts: "data" };
  try {
    const liveness = { pingMs: 50, silenceMs: 5000, handshakeMs: 3000, closeMs: 300, heartbeatMs: 200 };
    const beating = await connectCluster({ kubeconfig: server.kubeconfig, liveness });
    const command = { script: "sleep 2; echo end", signal: AbortSignal.timeout(30_000) };
    const execution = beating.execute(targets.get("db-0")!, command);
    expect((await collect(execution.output, 100)).toString()).toBe("end\n");
  } finally {
    server.idleCut = undefined;
  }
});

test("what is too long for a URL goes over stdin, and is in no request", async () => {
  const script = `echo long ${"x".repeat(3000)}`;
  await execute({ script }, "db-1");
  expect(answered).toEqual([script]);
  const args = ["-n", "", " a  'b' ", "$HOME`echo c`\\\n", "'", "x".repeat(3000), 'ü"*'];
  const { output } = await execute({ script: `printf '<%s>' "$@"`, args });
  expect(output.toString()).toBe(args.map((each) => `<${each}>`).join(""));
  expect(JSON.stringify(server.requests)).not.toContain("xxxxxxxx");
});

test("arguments that go over stdin are no secrets in the words of a tool", async () => {
  const script = `echo "'$1' is none of them: $PASSWORD" >&2; exit 1 # ${"x".repeat(3000)}`;
  await expect(execute({ script, args: ["open"], secrets: { PASSWORD: "hunter22" } })).rejects.toMatchObject({
    message: expect.stringMatching(/'open' is none of them: <removed>/),
  });
});

test("a tool that starts others does not end before them, whenever it is told to end", async () => {
  const dir = mkdtempSync(join(tmpdir(), "kaa-"));
  const orphans = join(dir, "orphans");
  const child = `sleep 0.01; read -r pid name state parent rest </proc/$$/stat; [ "$parent" = $PPID ] || echo x >>"$0"`;
  const tool = 'mkfifo "$3" && exec 9<>"$3"; while :; do read -rt 0.1 <&9; sh -c "$2" "$1"; done';
  const runs = Array.from({ length: 8 }, async (_, n) => {
    const stopping = new AbortController();
    setTimeout(() => stopping.abort(new Error("stopped")), 1000 + 30 * n);
    const args = [tool, orphans, child, join(dir, `${n}`)];
    const { output } = begin({ script: 'exec bash -c "$1" bash "$2" "$3" "$4"', args, signal: stopping.signal });
    await collect(output, 0);
  });
  for (const ended of await Promise.allSettled(runs)) expect(ended).toMatchObject({ reason: new Error("stopped") });
  expect(await server.quiet(30_000)).toBe(true);
  expect(existsSync(orphans), "one was left alone").toBe(false);
}, 45_000);

test("a server that speaks no websocket any more has broken the connection", async () => {
  server.execFault = () => ({ kind: "huge-frame" });
  await expect(execute({ script: "sleep 1" })).rejects.toMatchObject({
    outcome: "stream-lost",
    message: expect.stringContaining('pod "kaa/db-0": the connection broke: '),
  });
  expect(await server.quiet(9000)).toBe(true);
});

test("only names of variables and values that a variable can have are sent as secrets", () => {
  expect(() => secretLines({ "A=B\nC": "x" })).toThrow(TypeError);
  expect(() => secretLines({ PASSWORD: "a\0b" })).toThrow("a password contains a NUL byte");
});
