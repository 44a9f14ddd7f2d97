/** Websockets to a server that sends and reads when it is told: what comes at once with the answer to the upgrade, as
 *  through a proxy, and what happens while nobody reads. */
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket as TcpSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { collect } from "../../src/base/bytes.ts";
import type { Connection } from "../../src/cluster/api.ts";
import { frame } from "../../src/cluster/channels.ts";
import type { Pod } from "../../src/cluster/cluster.ts";
import { type ExecSession, openExec } from "../../src/cluster/exec.ts";
import { openForward } from "../../src/cluster/forward.ts";
import { defaultLiveness } from "../../src/cluster/socket.ts";

let server: Server;
let connection: Connection;
/** What comes with the answer. */
let first: readonly Buffer[];
let sockets: TcpSocket[];

beforeEach(async () => {
  [first, sockets] = [[], []];
  server = createServer();
  server.on("upgrade", (request, socket: TcpSocket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.resume();
    const [protocol = ""] = (request.headers["sec-websocket-protocol"] ?? "").split(",");
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    const head = `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: ${protocol}\r\n\r\n`;
    socket.write(Buffer.concat([Buffer.from(head), ...first.map(unmasked)]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  connection = {
    server: "fake",
    requestTimeoutMs: 0,
    requestOptions: async (path) => ({ url: new URL(`http://127.0.0.1:${port}${path}`), options: {} }),
  };
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

/** A binary websocket message of a server. */
function unmasked(message: Buffer): Buffer {
  const head = Buffer.from([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(message.byteLength, 6);
  return Buffer.concat([head, message]);
}

const alive = { liveness: defaultLiveness, probe: async () => true };
const exec = (signal = AbortSignal.timeout(10_000), over = {}) =>
  openExec(connection, { path: "/exec", doing: "cannot run", signal, ...alive, ...over });
const forward = (signal = AbortSignal.timeout(10_000), over = {}) =>
  openForward(connection, { pod: { namespace: "kaa", name: "vault-0" } as Pod, port: 8200, signal, ...alive, ...over });
const outputOf = async (session: ExecSession) => (await collect(session.stdout, 1024)).toString();
const left = () => sockets.filter((each) => !each.destroyed && !each.readableEnded).length;

test("a broken protocol ends a session even when it comes with the upgrade", async () => {
  first = [frame(7, Buffer.from("x"))];
  const session = await exec();
  await expect(outputOf(session)).rejects.toMatchObject({ outcome: "stream-lost" });
  await vi.waitFor(() => expect(left()).toBe(0));
});

/** Each channel's first message is the port. */
const greetings = [0, 1].map((channel) => frame(channel, Buffer.from([8200 & 255, 8200 >> 8])));
const port = 'port 8200 of pod "kaa/vault-0"';

test.each<[string, readonly Buffer[], object]>([
  [
    "refuses",
    [...greetings, frame(1, Buffer.from("connect: connection refused"))],
    { outcome: "storage-not-ready", message: `${port}: connection refused` },
  ],
  [
    "is lost",
    [...greetings, frame(1, Buffer.from("lost connection to pod"))],
    { outcome: "stream-lost", message: `${port}: lost connection to pod` },
  ],
  ["is another", [frame(0, Buffer.from([1, 0]))], { outcome: "stream-lost" }],
  ["sends a message without a channel", [...greetings, Buffer.alloc(0)], { outcome: "stream-lost" }],
  ["is named in pieces", [frame(0, Buffer.from([8200 & 255]))], { outcome: "stream-lost" }],
  [
    "speaks of a channel 7",
    [frame(7, Buffer.from("x"))],
    { message: `${port}: the server broke the protocol: unknown channel 7` },
  ],
])("a port that %s leaves no connection, even when that comes with the upgrade", async (_, messages, expected) => {
  first = messages;
  const stream = await forward();
  await vi.waitFor(() => expect(stream.errored).toMatchObject(expected));
  await vi.waitFor(() => expect(left()).toBe(0));
});

test("a port whose connection breaks is an error, one that is closed has ended, though the server keeps the line", async () => {
  first = greetings;
  const over = { liveness: { ...defaultLiveness, closeMs: 100 } };
  const [broken, closed] = [await forward(), await forward(undefined, over)];
  sockets[0]?.write(Buffer.from([0xff, 0])); // no frame at all
  sockets[1]?.write(Buffer.from([0x88, 2, 3, 232])); // close, 1000
  await vi.waitFor(() =>
    expect(broken.errored).toMatchObject({ outcome: "stream-lost", message: expect.stringContaining(`${port}: `) }),
  );
  await expect(collect(closed, 10)).resolves.toHaveLength(0);
  await vi.waitFor(() => expect(left()).toBe(0));
});

test("a port whose data nobody takes is not read on, and nothing of it is lost", async () => {
  first = greetings;
  const stream = await forward();
  const [sent] = sockets;
  const count = 1000;
  for (let n = 0; n < count; n++) sent?.write(unmasked(frame(0, Buffer.alloc(32 * 1024, n))));
  await sleep(300);
  expect(sent?.writableLength).toBeGreaterThan(10_000_000);
  let total = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    total += chunk.byteLength;
    if (total === count * 32 * 1024) break;
  }
  expect(total).toBe(count * 32 * 1024);
});

test("output that waits for a slow reader outlives the status and a server that never closes", async () => {
  const session = await exec(undefined, { liveness: { ...defaultLiveness, closeMs: 100 } });
  const output = Array.from({ length: 32 }, (_, n) => frame(1, Buffer.alloc(32 * 1024, n)));
  const status = frame(3, Buffer.from('{"status":"Success"}'));
  sockets[0]?.write(Buffer.concat([...output, status].map(unmasked)));
  await vi.waitFor(() => expect(session.status).toEqual({ success: true }));
  await sleep(500);
  await expect(collect(session.stdout, 1 << 21)).resolves.toHaveLength(1 << 20);
});

test("a session or a port that is open ends with the reason of the signal, and leaves no connection", async () => {
  const stopping = new AbortController();
  const session = await exec(stopping.signal);
  const stream = await forward(stopping.signal);
  stopping.abort("stopped");
  await expect(outputOf(session)).rejects.toThrow("stopped");
  expect(stream.errored?.message).toBe("stopped");
  await vi.waitFor(() => expect(left()).toBe(0));
});

test("what is written to a connection that has ended is an error", async () => {
  const session = await exec();
  const stream = await forward();
  for (const socket of sockets) socket.destroy();
  await vi.waitFor(() => expect(session.over).toBe(true));
  await expect(session.write(Buffer.from("x"))).rejects.toThrow();
  stream.write("x");
  await vi.waitFor(() => expect(stream.errored).not.toBeNull());
});

describe("a command that reads nothing, on a server that answers no ping", () => {
  const liveness = { ...defaultLiveness, pingMs: 20, silenceMs: 400 };
  /** More than the kernel takes. */
  const input = Buffer.alloc(30_000_000);
  const blocked = async (probe: () => Promise<boolean>) => {
    const session = await exec(undefined, { liveness, probe });
    sockets[0]?.pause();
    const [writing, output] = [session.write(input), outputOf(session)];
    for (const each of [writing, output]) each.catch(() => {});
    return { session, writing, output };
  };

  test("is waited for while the API server says that it is there", async () => {
    let asked = 0;
    const { session, writing } = await blocked(async () => {
      asked += 1;
      return true;
    });
    await vi.waitFor(() => expect(asked).toBeGreaterThan(3), { timeout: 5000 });
    expect(session.over).toBe(false);
    sockets[0]?.resume();
    await writing;
    session.close();
  });

  test.each<[string, () => Promise<boolean>]>([
    ["says that it is gone", async () => false],
    ["does not answer either", () => Promise.reject(new Error("no answer"))],
  ])("is given up when the API server %s", async (_, probe) => {
    const { output, writing } = await blocked(probe);
    await expect(output).rejects.toMatchObject({ outcome: "stream-lost", message: "no answer for 0 s" });
    await expect(writing).rejects.toThrow();
    sockets[0]?.resume();
    await vi.waitFor(() => expect(left()).toBe(0));
  });

  test("is asked for once at a time, and goes on when it reads again before the answer", async () => {
    let asked = 0;
    const { promise: answer, resolve } = Promise.withResolvers<boolean>();
    const { session, writing, output } = await blocked(() => {
      asked += 1;
      return answer;
    });
    await vi.waitFor(() => expect(asked).toBe(1), { timeout: 5000 });
    await sleep(200);
    expect(asked).toBe(1);
    sockets[0]?.resume();
    await writing;
    resolve(false);
    sockets[0]?.write(unmasked(frame(1, Buffer.from("read"))));
    sockets[0]?.write(unmasked(frame(3, Buffer.from('{"status":"Success"}'))));
    await vi.waitFor(() => expect(session.status).toEqual({ success: true }));
    session.close();
    await expect(output).resolves.toBe("read");
  });
});
