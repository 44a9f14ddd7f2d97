/** Exec against the scripted API server, which really runs the wrapper and the command. */
import { createHash, randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { collect, digestOf } from "../../src/base/bytes.ts";
import type { Cluster, Command, Target } from "../../src/cluster/cluster.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { type ExecFault, FakeApiServer } from "../fakes/api-server.ts";

const echo = createServer((socket) => socket.pipe(socket));
let server: FakeApiServer;
let cluster: Cluster;
let target: Target;

beforeAll(async () => {
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
  server = new FakeApiServer([
    { namespace: "kaa", name: "db-0", labels: {}, env: {}, ports: { 9000: (echo.address() as AddressInfo).port } },
  ]);
  await server.start();
  cluster = await connectCluster({
    kubeconfig: server.kubeconfig,
    liveness: { pingMs: 100, silenceMs: 700, handshakeMs: 3000, closeMs: 500, heartbeatMs: 30_000 },
  });
  const [pod] = await cluster.listPods("kaa", AbortSignal.timeout(5000));
  target = { pod: pod!, container: "main" };
});
afterAll(async () => {
  await server.stop();
  echo.close();
});
beforeEach(() => {
  server.execFault = () => undefined;
  server.protocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
});

async function execute(command: Omit<Command, "signal"> & { signal?: AbortSignal }) {
  const execution = cluster.execute(target, { signal: AbortSignal.timeout(30_000), ...command });
  const output = await collect(execution.output, 1 << 30);
  return { output, ...(await execution.done) };
}

async function* inChunks(bytes: Buffer, size = 70_001) {
  for (let start = 0; start < bytes.byteLength; start += size) yield bytes.subarray(start, start + size);
}

describe.each(["v5.channel.k8s.io", "v4.channel.k8s.io"])("execute() over %s", (protocol) => {
  beforeEach(() => {
    server.protocols = [protocol];
  });

  test("gives back every byte of the output, proved by the pod", async () => {
    const { output, sent } = await execute({ script: "head -c 5000000 /dev/zero | tr '\\0' '\\377'; printf x" });
    expect(output.equals(Buffer.concat([Buffer.alloc(5_000_000, 0xff), Buffer.from("x")]))).toBe(true);
    expect(sent).toEqual(digestOf(output));
  });

  test("feeds every byte of the input, whole or not at all", async () => {
    const bytes = randomBytes(3_000_000);
    const { output } = await execute({
      script: "sha256sum",
      input: { bytes: inChunks(bytes), digest: digestOf(bytes), encoding: "identity" },
    });
    expect(output.toString().slice(0, 64)).toBe(createHash("sha256").update(bytes).digest("hex"));
  });

  test("lets the pod compress, and tells the digest of what was inside", async () => {
    const { plain, sent } = await execute({ script: "head -c 1000000 /dev/zero", outputEncoding: "gzip" });
    expect(plain).toEqual(digestOf(Buffer.alloc(1_000_000)));
    expect(sent.bytes).toBeLessThan(10_000);
  });
});

describe("secrets", () => {
  test("arrive with every byte they can have, and are in no request", async () => {
    const password = ` '"\\$%\`!#\n\r\t\u00e4\u{1f600}${"x".repeat(4096)}\n`;
    const { output } = await execute({ script: 'printf "%s" "$KAA_PASSWORD"', secrets: { KAA_PASSWORD: password } });
    expect(output.toString()).toBe(password);
    expect(JSON.stringify(server.requests)).not.toContain("xxxxxxxx");
  });

  test("are not sent to a pod that has taken the name of the one meant (EX-23)", async () => {
    const uid = server.uid;
    server.uid = "22222222-2222-2222-2222-222222222222";
    await expect(
      execute({ script: 'printf "%s" "$KAA_PASSWORD"', secrets: { KAA_PASSWORD: "p" } }),
    ).rejects.toMatchObject({ outcome: "storage-not-ready" });
    server.uid = uid;
  });
});

describe("a command that fails", () => {
  test("throws its exit code and its own words (EX-09)", async () => {
    await expect(execute({ script: "echo no such table >&2; exit 3" })).rejects.toMatchObject({
      outcome: "storage-failed",
      message: expect.stringContaining("exit code 3: no such table"),
    });
  });
  test("that does not exist is a missing tool (EX-26)", async () => {
    await expect(execute({ script: "exec no-such-tool" })).rejects.toMatchObject({ outcome: "storage-not-ready" });
  });
  test("keeps only the tail of endless stderr (EX-18)", async () => {
    const { stderr, output } = await execute({ script: "head -c 10000000 /dev/zero | tr '\\0' e >&2; echo done" });
    expect(output.toString()).toBe("done\n");
    expect(stderr.length).toBeLessThanOrEqual(16 * 1024);
  });
  test("takes no longer than its deadline", async () => {
    await expect(execute({ script: "sleep 60", timeoutMs: 300 })).rejects.toMatchObject({ outcome: "deadline" });
    expect(await server.quiet(8000)).toBe(true);
  });
});

const stream = "head -c 4000000 /dev/urandom";
const faults: readonly { id: string; fault: ExecFault; outcome: string | RegExp }[] = [
  { id: "EX-01", fault: { kind: "reset", afterBytes: 1_000_000 }, outcome: "stream-lost" },
  { id: "EX-02", fault: { kind: "close", afterBytes: 1_000_000 }, outcome: "stream-lost" },
  { id: "EX-04", fault: { kind: "silence", afterBytes: 1_000_000 }, outcome: "stream-lost" },
  { id: "EX-05", fault: { kind: "early-success", afterBytes: 1_000_000 }, outcome: "storage-failed" },
  { id: "EX-06", fault: { kind: "lose-last-frame" }, outcome: "storage-failed" },
  { id: "EX-08", fault: { kind: "duplicate", afterBytes: 1_000_000 }, outcome: "storage-failed" },
  { id: "EX-08", fault: { kind: "swap", afterBytes: 1_000_000 }, outcome: "storage-failed" },
  { id: "EX-08", fault: { kind: "flip", afterBytes: 1_000_000 }, outcome: "storage-failed" },
  { id: "EX-02", fault: { kind: "no-status" }, outcome: "stream-lost" },
  { id: "EX-10", fault: { kind: "bad-status" }, outcome: "stream-lost" },
  { id: "EX-10", fault: { kind: "endless-status" }, outcome: "stream-lost" },
  { id: "EX-20", fault: { kind: "text" }, outcome: "stream-lost" },
  { id: "EX-20", fault: { kind: "channel-7" }, outcome: "stream-lost" },
  { id: "EX-12", fault: { kind: "protocol", name: "" }, outcome: "cluster" },
  { id: "EX-13", fault: { kind: "refuse", status: 502, body: "<html>bad gateway</html>" }, outcome: "cluster" },
  {
    id: "EX-14",
    fault: {
      kind: "refuse",
      status: 403,
      body: '{"message":"pods \\"db-0\\" is forbidden: User \\"x\\" cannot create resource \\"pods/exec\\" in API group \\"\\" in the namespace \\"kaa\\""}',
    },
    outcome: "forbidden",
  },
];

describe("a connection that goes wrong is never taken for a whole output", () => {
  test.each(faults)("$fault.kind ($id)", async ({ fault, outcome }) => {
    server.execFault = () => fault;
    await expect(execute({ script: stream })).rejects.toMatchObject({ outcome });
    expect(await server.quiet(9000), "a process was left in the pod").toBe(true);
  });
});

describe("the watchdog", () => {
  test.each(["exec sleep 300", "sleep 300; echo late", "trap '' TERM; sleep 300", "sleep 300 | cat"])(
    "ends %s when we go away (EX-27)",
    async (script) => {
      const stopping = new AbortController();
      const running = execute({ script, signal: stopping.signal });
      running.catch(() => {});
      while (server.children.size === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      await new Promise((resolve) => setTimeout(resolve, 300));
      stopping.abort(new Error("cancelled"));
      await expect(running).rejects.toThrow("cancelled");
      expect(await server.quiet(9000)).toBe(true);
    },
  );

  test("kills a command before it takes a cut input for a whole one", async () => {
    const bytes = randomBytes(100_000);
    const cut = { bytes: inChunks(bytes.subarray(0, 50_000)), digest: digestOf(bytes), encoding: "identity" as const };
    const marker = `${server.folder}/reached-the-end`;
    await expect(execute({ script: 'cat >/dev/null && : >"$1"', args: [marker], input: cut })).rejects.toMatchObject({
      outcome: "invalid-snapshot",
    });
    // Rounds of a second each, and as long again to read /proc on a busy machine.
    expect(await server.quiet(40_000)).toBe(true);
    await expect(import("node:fs/promises").then((fs) => fs.access(marker))).rejects.toThrow();
  });
});

describe("a slow consumer", () => {
  test("slows the pod instead of filling memory (EX-17)", async () => {
    const execution = cluster.execute(target, {
      script: "head -c 100000000 /dev/zero",
      signal: AbortSignal.timeout(60_000),
    });
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external;
    let total = 0;
    for await (const chunk of execution.output) {
      if (total === 0) await new Promise((resolve) => setTimeout(resolve, 2500)); // longer than the silence that is fatal otherwise
      total += chunk.byteLength;
      if (total < 1_000_000)
        expect(process.memoryUsage().arrayBuffers + process.memoryUsage().external - before).toBeLessThan(40e6);
    }
    expect(total).toBe(100_000_000);
  });

  test("gets what is on its way when the command has ended long ago, and sends nothing that would end it (EX-07)", async () => {
    const before = server.sentTooLate;
    const execution = cluster.execute(target, {
      script: "head -c 3000000 /dev/zero",
      signal: AbortSignal.timeout(60_000),
    });
    let total = 0;
    for await (const chunk of execution.output) {
      if (total === 0) await new Promise((resolve) => setTimeout(resolve, 2500)); // longer than a close is waited for
      total += chunk.byteLength;
    }
    expect(total).toBe(3_000_000);
    await execution.done;
    // One ping may cross the end of the command.
    expect(server.sentTooLate - before).toBeLessThan(3);
  });
});

describe("connect()", () => {
  test("carries bytes both ways to a port of the pod", async () => {
    const connection = await cluster.connect(target.pod, 9000, AbortSignal.timeout(10_000));
    const bytes = randomBytes(2_000_000);
    connection.end(bytes);
    const chunks: Buffer[] = [];
    for await (const chunk of connection as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      if (chunks.reduce((sum, each) => sum + each.byteLength, 0) === bytes.byteLength) break;
    }
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
  });

  test("says so when nothing listens on the port (PF-02)", async () => {
    const failing = async () => {
      const connection = await cluster.connect(target.pod, 9999, AbortSignal.timeout(10_000));
      for await (const _ of connection);
    };
    await expect(failing()).rejects.toMatchObject({ outcome: "storage-not-ready" });
  });
});

describe("lock()", () => {
  test("is held by one at a time, and can be taken again after its release", async () => {
    const signal = AbortSignal.timeout(10_000);
    const lock = await cluster.lock("kaa", "create", signal);
    await expect(cluster.lock("kaa", "restore", signal)).rejects.toMatchObject({
      outcome: "busy",
      message: expect.stringContaining("create"),
    });
    await lock.release();
    await (await cluster.lock("kaa", "restore", signal)).release();
  });
});
