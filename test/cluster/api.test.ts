/** Requests to an API server that answers as told: what an operator is told of a refusal, and what is tried again. */
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type Server } from "node:http";
import type { AddressInfo, LookupFunction } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Connection, callApi, pause } from "../../src/cluster/api.ts";
import { openExec } from "../../src/cluster/exec.ts";
import { apiObjects, listAll } from "../../src/cluster/objects.ts";
import { isAllowed, serverTime } from "../../src/cluster/rights.ts";
import { defaultLiveness } from "../../src/cluster/socket.ts";

type Answer = "reset" | "hang" | readonly [status: number, body: unknown, headers?: OutgoingHttpHeaders];
type Asked = Pick<IncomingMessage, "method" | "url" | "headers"> & { readonly body: string };

let server: Server;
let connection: Connection;
let asked: Asked[];
let answer: (request: Asked) => Answer;

beforeEach(async () => {
  asked = [];
  server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { method, url, headers } = request;
    const told: Asked = { method, url, headers, body };
    asked.push(told);
    const given = answer(told);
    if (given === "reset") request.socket.destroy();
    if (typeof given === "string") return;
    const [status, said, extra = {}] = given;
    response.writeHead(status, extra).end(typeof said === "string" ? said : JSON.stringify(said));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  connection = {
    server: "http://fake",
    requestTimeoutMs: 0,
    requestOptions: async (path) => ({ url: new URL(`http://127.0.0.1:${port}${path}`), options: {} }),
  };
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const signal = AbortSignal.timeout(60_000);
const get = (over: Partial<Connection> = {}) =>
  callApi({ ...connection, ...over }, { method: "GET", path: "/x", doing: "cannot look", signal });
const forbidden = (what: string) => ({ message: `x is forbidden: User "u" cannot ${what}` });

describe("a refusal", () => {
  test.each<[string, number, unknown, object]>([
    [
      "of who asks",
      401,
      { message: "Unauthorized" },
      { outcome: "credentials", hints: [expect.stringMatching("log in")] },
    ],
    [
      "of a right in a namespace names the rule that is missing",
      403,
      forbidden('list resource "jobs" in API group "batch" in the namespace "kaa"'),
      {
        outcome: "forbidden",
        hints: ['add to a Role in namespace "kaa": {apiGroups: ["batch"], resources: ["jobs"], verbs: [list]}'],
      },
    ],
    [
      "of a right everywhere names the rule that is missing",
      403,
      forbidden('list resource "namespaces" in API group "" at the cluster scope'),
      {
        outcome: "forbidden",
        hints: ['add to a ClusterRole: {apiGroups: [""], resources: ["namespaces"], verbs: [list]}'],
      },
    ],
    [
      "of somebody else says his first line, and no rule",
      403,
      "blocked by policy 7\nask the administrator",
      { outcome: "forbidden", message: "cannot look: blocked by policy 7", hints: [] },
    ],
    ["without words has its number", 400, "", { outcome: "cluster", message: "cannot look: HTTP 400" }],
    ["in JSON that is no status is shown", 400, "[1]", { outcome: "cluster", message: "cannot look: [1]" }],
    ["that redirects elsewhere is not followed", 302, "", { outcome: "cluster", message: "cannot look: HTTP 302" }],
    [
      "with a long page of a proxy is told as one",
      400,
      `<html>${"x".repeat(200_000)}`,
      { message: expect.stringMatching("HTML page") },
    ],
  ])("%s", async (_, status, body, expected) => {
    answer = () => [status, body];
    await expect(get()).rejects.toMatchObject(expected);
    expect(asked).toHaveLength(1);
  });

  test.each<[string, number, string, object]>([
    [
      "with a long page of a proxy says what its number means",
      403,
      `<html>${"x".repeat(200_000)}`,
      { outcome: "forbidden", message: "cannot run: a proxy answered with an HTML page" },
    ],
    ["whose pod is absent says so", 404, '{"message":"no pod"}', { outcome: "storage-not-ready" }],
    ["for a conflict has nothing to do with a lock", 409, "conflict", { outcome: "cluster" }],
  ])("of a command %s", async (_, status, body, expected) => {
    server.on("upgrade", (_request, socket) => {
      socket.on("error", () => {});
      socket.end(`HTTP/1.1 ${status} Refused\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    });
    const liveness = defaultLiveness;
    const request = { path: "/exec", doing: "cannot run", signal, liveness, probe: async () => true };
    await expect(openExec(connection, request)).rejects.toMatchObject(expected);
  });

  test.each<[string, () => string]>([
    ["in seconds", () => "2"],
    ["as a date", () => new Date(Date.now() + 3000).toUTCString()],
  ])("of a busy server is repeated when it wants to be asked again, which it says %s", async (_, retryAfter) => {
    const times: number[] = [];
    answer = () => {
      times.push(performance.now());
      return times.length === 1 ? [503, "", { "retry-after": retryAfter() }] : [200, {}];
    };
    await expect(get()).resolves.toEqual({});
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(1900);
  });
});

describe("an answer", () => {
  test("that is no JSON asks whether a proxy is in the way", async () => {
    answer = () => [200, "<html>log in</html>"];
    await expect(get()).rejects.toMatchObject({ outcome: "cluster", message: expect.stringContaining("proxy") });
  });

  test("larger than memory should hold is not read to its end", async () => {
    answer = () => [200, Buffer.alloc(65 * 1024 * 1024, " ").toString()];
    await expect(get()).rejects.toMatchObject({ outcome: "cluster", message: expect.stringContaining("more than") });
  });

  test("that does not come in the time that --request-timeout gives is not waited for", async () => {
    answer = () => "hang";
    await expect(get({ requestTimeoutMs: 300 })).rejects.toMatchObject({
      outcome: "cluster",
      message: "cannot look: cannot reach http://fake: no answer in 0.3 s",
    });
  });
});

test("a read whose connection breaks is made again, a change is not", async () => {
  answer = () => (asked.length === 1 ? "reset" : [200, { found: true }]);
  await expect(get()).resolves.toEqual({ found: true });
  asked = [];
  await expect(apiObjects(connection).create("jobs", "kaa", {}, signal)).rejects.toMatchObject({ outcome: "cluster" });
  expect(asked).toHaveLength(1);
});

test("a server of several addresses that none answers is told with the reason, for requests and commands", async () => {
  const lookup: LookupFunction = (_host, _options, found) =>
    found(null, [
      { address: "127.0.0.1", family: 4 },
      { address: "127.0.0.2", family: 4 },
    ]);
  const requestOptions = async (path: string) => ({ url: new URL(`http://api.example:9${path}`), options: { lookup } });
  const refused = { outcome: "cluster", message: expect.stringContaining("connect ECONNREFUSED 127.0.0.1:9") };
  await expect(get({ requestOptions })).rejects.toMatchObject(refused);
  const liveness = defaultLiveness;
  const request = { path: "/exec", doing: "cannot run", signal, liveness, probe: async () => true };
  await expect(openExec({ ...connection, requestOptions }, request)).rejects.toMatchObject(refused);
});

test("a pause ends at once, and never begins, when the signal fires", async () => {
  const stopping = new AbortController();
  const pausing = pause(60_000, stopping.signal);
  stopping.abort(new Error("stopped"));
  await expect(pausing).rejects.toThrow("stopped");
  await expect(pause(60_000, stopping.signal)).rejects.toThrow("stopped");
});

describe("objects", () => {
  const place = { namespace: "kaa", name: "x" };

  test("one that is absent is none, one that may not be read is an error", async () => {
    answer = () => [404, {}];
    await expect(apiObjects(connection).get("jobs", place, signal)).resolves.toBeUndefined();
    answer = () => [403, {}];
    await expect(apiObjects(connection).get("jobs", place, signal)).rejects.toMatchObject({ outcome: "forbidden" });
    answer = () => [200, { kind: "Job" }];
    await expect(apiObjects(connection).get("jobs", place, signal)).resolves.toEqual({ kind: "Job" });
    expect(asked.at(-1)?.url).toBe("/apis/batch/v1/namespaces/kaa/jobs/x");
  });

  test("are listed page by page, by their labels", async () => {
    answer = ({ url }) =>
      url?.includes("continue=2")
        ? [200, { items: [{ kind: "b" }], metadata: {} }]
        : [200, { items: [{ kind: "a" }], metadata: { continue: "2" } }];
    const objects = apiObjects(connection).list("events", "kaa", "app=kaa", signal);
    await expect(objects).resolves.toEqual([{ kind: "a" }, { kind: "b" }]);
    expect(asked.every(({ url }) => url?.includes("labelSelector=app%3Dkaa"))).toBe(true);
  });

  test("that come in pages without end are given up", async () => {
    answer = () => [200, { items: [], metadata: { continue: "same" } }];
    const listing = listAll(connection, { path: "/api/v1/namespaces", doing: "cannot list namespaces", signal });
    await expect(listing).rejects.toThrow("cannot list namespaces: the server repeats a page for ever");
    expect(asked).toHaveLength(2);
  });

  test("are made, and changed by a merge patch", async () => {
    answer = ({ body }) => [201, JSON.parse(body)];
    const objects = apiObjects(connection);
    await expect(objects.create("configmaps", "kaa", { data: { a: "1" } }, signal)).resolves.toEqual({
      data: { a: "1" },
    });
    await expect(objects.patch("configmaps", place, { data: null }, signal)).resolves.toEqual({ data: null });
    expect(asked.map(({ method, url, headers }) => [method, url, headers["content-type"]])).toEqual([
      ["POST", "/api/v1/namespaces/kaa/configmaps", "application/json"],
      ["PATCH", "/api/v1/namespaces/kaa/configmaps/x", "application/merge-patch+json"],
    ]);
  });
});

test("a right is asked for with its subresource and its name", async () => {
  answer = () => [201, { status: { allowed: true } }];
  const right = { group: "", verb: "create", resource: "pods/exec", name: "db-0" };
  await expect(isAllowed(connection, "kaa", right, signal)).resolves.toBe(true);
  expect(JSON.parse(asked[0]?.body ?? "").spec.resourceAttributes).toEqual({
    namespace: "kaa",
    group: "",
    verb: "create",
    resource: "pods",
    subresource: "exec",
    name: "db-0",
  });
  answer = () => [201, { status: {} }];
  await expect(isAllowed(connection, "kaa", { ...right, resource: "pods" }, signal)).resolves.toBe(false);
});

test("the server's clock is read from its answer, when it tells it", async () => {
  answer = () => [200, {}, { date: "Wed, 25 Nov 2026 10:00:00 GMT" }];
  await expect(serverTime(connection, signal)).resolves.toEqual(new Date("2026-11-25T10:00:00Z"));
  answer = () => [200, {}, { date: "soon" }];
  await expect(serverTime(connection, signal)).resolves.toBeUndefined();
});
