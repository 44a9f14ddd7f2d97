/** HTTP to a pod, over a cluster whose connections go to a server in this process. */
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, type Server } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { collect } from "../../src/base/bytes.ts";
import type { Cluster, Pod } from "../../src/cluster/cluster.ts";
import { openRequest, podAgent, sendRequest } from "../../src/drivers/http.ts";
import { certificateFor } from "../fakes/certificate.ts";

const pod = { name: "kaa-0", namespace: "kaa" } as Pod;
const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function served(listener: RequestListener, { tls = false, connections = 2, keepAliveMs = 5000 } = {}) {
  const options = { keepAliveTimeout: keepAliveMs };
  const server: Server = tls
    ? createTlsServer({ ...certificateFor("localhost"), ...options }, listener)
    : createServer(options, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  let opened = 0;
  const cluster: Pick<Cluster, "connect"> = {
    async connect() {
      opened += 1;
      return connect((server.address() as AddressInfo).port, "127.0.0.1");
    },
  };
  const signal = AbortSignal.timeout(10_000);
  const agent = podAgent({ cluster: cluster as Cluster, pod, port: 80, tls }, signal, connections);
  closing.push(
    () => agent.destroy(),
    () => server.close(),
  );
  return { agent, signal, opened: () => opened };
}

const echo: RequestListener = async (request, response) => {
  let bytes = 0;
  for await (const chunk of request) bytes += (chunk as Buffer).byteLength;
  response.end(`${request.method} ${request.url} ${bytes}`);
};

describe.each([{ tls: false }, { tls: true }])("with $tls for TLS", ({ tls }) => {
  test("connections are used again", async () => {
    const { agent, signal, opened } = await served(echo, { tls });
    for (let n = 0; n < 5; n++) {
      const { status, body } = await sendRequest(agent, { method: "PUT", path: `/${n}?a`, body: "abc", signal });
      expect([status, body.toString()]).toEqual([200, `PUT /${n}?a 3`]);
    }
    expect(opened()).toBe(1);
  });

  test("no more connections are opened than allowed", async () => {
    const { agent, signal, opened } = await served(echo, { tls });
    const sent = Array.from({ length: 20 }, () => sendRequest(agent, { method: "GET", path: "/", signal }));
    await Promise.all(sent);
    expect(opened()).toBeLessThanOrEqual(2);
  });

  test("a stream is sent as it comes", async () => {
    const { agent, signal } = await served(echo, { tls });
    async function* body() {
      for (let n = 0; n < 100; n++) yield Buffer.alloc(10_000, n);
    }
    const answer = await sendRequest(agent, { method: "POST", path: "/", body: body(), signal });
    expect(answer.body.toString()).toBe("POST / 1000000");
  });
});

test("an answer that is cut is an error, never a short body", async () => {
  const { agent, signal } = await served((_, response) => {
    response.writeHead(200, { "content-length": 1000 });
    response.write("half", () => response.destroy());
  });
  await expect(sendRequest(agent, { method: "GET", path: "/", signal })).rejects.toMatchObject({
    outcome: "stream-lost",
  });
});

test("an answer that stops in its middle is given up, one that is read slowly is not", async () => {
  const { agent, signal } = await served((request, response) => {
    response.writeHead(200, { "content-length": 8 }).write("half");
    if (request.url === "/whole") response.end("half");
  });
  const stalled = openRequest(agent, { method: "GET", path: "/", signal, stallMs: 100 });
  await expect(stalled.then(({ body }) => collect(body, 100))).rejects.toMatchObject({
    outcome: "stream-lost",
    message: expect.stringContaining("nothing more of the answer came for 0.1 s"),
  });
  const whole = await openRequest(agent, { method: "GET", path: "/whole", signal, stallMs: 100 });
  let text = "";
  for await (const chunk of whole.body) {
    await sleep(200);
    text += Buffer.from(chunk).toString();
  }
  expect(text).toBe("halfhalf");
});

test("an answer that does not begin is given up, one that is worked at for long is not", async () => {
  const { agent, signal } = await served(async (request, response) => {
    if (request.url === "/never") return;
    await sleep(300);
    response.end("done");
  });
  const never = sendRequest(agent, { method: "GET", path: "/never", signal, answerMs: 100 });
  await expect(never).rejects.toMatchObject({
    outcome: "stream-lost",
    message: expect.stringContaining("nothing more of the answer came for 0.1 s"),
  });
  const late = await sendRequest(agent, { method: "GET", path: "/late", signal, stallMs: 100, answerMs: 5000 });
  expect(late.body.toString()).toBe("done");
});

test("a server that takes no more of a body is given up, one that waits for us is not", async () => {
  const { agent, signal } = await served(async (request, response) => {
    if (request.url === "/takes") await echo(request, response);
  });
  async function* endless() {
    while (true) yield Buffer.alloc(100_000);
  }
  const limits = { signal, stallMs: 200, answerMs: 200 };
  const stuck = sendRequest(agent, { method: "POST", path: "/stuck", body: endless(), ...limits });
  await expect(stuck).rejects.toMatchObject({ outcome: "stream-lost" });
  async function* slow() {
    for (let n = 0; n < 3; n++) {
      await sleep(300);
      yield Buffer.from("abc");
    }
  }
  const taken = await sendRequest(agent, { method: "POST", path: "/takes", body: slow(), ...limits });
  expect(taken.body.toString()).toBe("POST /takes 9");
});

test("a request that waits for its turn is not given up", async () => {
  const { agent, signal } = await served(
    async (_, response) => {
      await sleep(150);
      response.end();
    },
    { connections: 1 },
  );
  const sent = [1, 2, 3].map(() => sendRequest(agent, { method: "GET", path: "/", signal, answerMs: 300 }));
  expect((await Promise.all(sent)).map(({ status }) => status)).toEqual([200, 200, 200]);
});

test("a body that fails fails the request", async () => {
  const { agent, signal } = await served(echo);
  async function* body() {
    yield Buffer.from("abc");
    throw new Error("the disk is gone");
  }
  await expect(sendRequest(agent, { method: "POST", path: "/", body: body(), signal })).rejects.toThrow(
    "the disk is gone",
  );
});

test("a refusal is read although the body was not yet sent", async () => {
  const { agent, signal } = await served((request, response) => {
    request.pause();
    response.writeHead(413, { connection: "close" });
    response.end("too large");
  });
  async function* body() {
    for (let n = 0; n < 1000; n++) yield Buffer.alloc(100_000);
  }
  const { status } = await openRequest(agent, { method: "POST", path: "/", body: body(), signal });
  expect(status).toBe(413);
});

test("the signal ends a request that gets no answer", async () => {
  const { agent } = await served(() => {});
  const signal = AbortSignal.timeout(100);
  await expect(sendRequest(agent, { method: "GET", path: "/", signal })).rejects.toThrow("timeout");
});

test("a pod that cannot be reached fails the request with the reason", async () => {
  const cluster: Pick<Cluster, "connect"> = {
    connect: () => Promise.reject(new Error("nothing listens on port 80")),
  };
  const signal = AbortSignal.timeout(10_000);
  const agent = podAgent({ cluster: cluster as Cluster, pod, port: 80, tls: false }, signal);
  await expect(sendRequest(agent, { method: "GET", path: "/", signal })).rejects.toMatchObject({
    outcome: "stream-lost",
    message: expect.stringContaining("nothing listens on port 80"),
  });
});

test("a connection that the server has closed while it waited is not used again", async () => {
  const { agent, signal, opened } = await served(echo, { keepAliveMs: 100 });
  for (let n = 1; n <= 3; n++) {
    expect((await sendRequest(agent, { method: "PUT", path: "/", body: "abc", signal })).status).toBe(200);
    expect(opened()).toBe(n);
    await sleep(1500); // Node's server adds a second to the time it promises
  }
});
