/** Websockets whose first messages come in one piece with the answer to the upgrade, as through a proxy. */
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo, Socket as TcpSocket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Connection } from "../../src/cluster/api.ts";
import { frame } from "../../src/cluster/channels.ts";
import type { Pod } from "../../src/cluster/cluster.ts";
import { openExec } from "../../src/cluster/exec.ts";
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

/** A short binary websocket message of a server. */
function unmasked(message: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0x82, message.byteLength]), message]);
}

const alive = { liveness: defaultLiveness, probe: async () => true };
const exec = (signal = AbortSignal.timeout(10_000)) =>
  openExec(connection, { path: "/exec", doing: "cannot run", signal, ...alive });
const forward = (signal = AbortSignal.timeout(10_000)) =>
  openForward(connection, { pod: { namespace: "kaa", name: "vault-0" } as Pod, port: 8200, signal, ...alive });
const left = () => sockets.filter((each) => !each.destroyed && !each.readableEnded).length;

test("a broken protocol ends a session even when it comes with the upgrade", async () => {
  first = [frame(7, Buffer.from("x"))];
  const session = await exec();
  const reading = async () => {
    for await (const _ of session.stdout);
  };
  await expect(reading()).rejects.toMatchObject({ outcome: "stream-lost" });
  await vi.waitFor(() => expect(left()).toBe(0));
});

test("a port that refuses leaves no connection, even when that comes with the upgrade", async () => {
  first = [0, 1].map((channel) => frame(channel, Buffer.from([8200 & 255, 8200 >> 8])));
  first = [...first, frame(1, Buffer.from("connect: connection refused"))];
  const stream = await forward();
  await vi.waitFor(() => expect(stream.errored).toMatchObject({ outcome: "storage-not-ready" }));
  await vi.waitFor(() => expect(left()).toBe(0));
});

test("a session or a port that is open ends with the reason of the signal, and leaves no connection", async () => {
  const stopping = new AbortController();
  const session = await exec(stopping.signal);
  const stream = await forward(stopping.signal);
  stopping.abort("stopped");
  const reading = async () => {
    for await (const _ of session.stdout);
  };
  await expect(reading()).rejects.toThrow("stopped");
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
