/** The cluster that drivers see, over the scripted API server. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Cluster, Pod } from "../../src/cluster/cluster.ts";
import { runForText } from "../../src/cluster/cluster.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { FakeApiServer, type RequestFault } from "../fakes/api-server.ts";

const pod = { namespace: "kaa", name: "db-0", labels: { app: "db" }, env: {} };
let server: FakeApiServer;
let cluster: Cluster;
const signal = AbortSignal.timeout(60_000);

beforeAll(async () => {
  server = new FakeApiServer([{ ...pod, answer: ({ script }) => script }]);
  await server.start();
  cluster = await connectCluster({ kubeconfig: server.kubeconfig });
});
afterAll(() => server.stop());
beforeEach(() => {
  server.requestFault = () => undefined;
  server.forwardFault = () => undefined;
  server.uid = "11111111-1111-1111-1111-111111111111";
});

const answering = (status: number, body: unknown = {}): RequestFault => ({ status, body: JSON.stringify(body) });

describe("a namespace", () => {
  test("that is there passes", async () => {
    await expect(cluster.checkNamespace("kaa", signal)).resolves.toBeUndefined();
  });
  test("that is not there is told", async () => {
    await expect(cluster.checkNamespace("other", signal)).rejects.toMatchObject({ outcome: "not-found" });
  });
  test("that may not be looked at passes: what is in it may be all that the account may see", async () => {
    server.requestFault = () => answering(403);
    await expect(cluster.checkNamespace("kaa", signal)).resolves.toBeUndefined();
  });
  test("is among those that can be completed", async () => {
    await expect(cluster.listNamespaces(signal)).resolves.toEqual(["kaa"]);
  });
});

test("what a server lists that is no pod is left out", async () => {
  const metadata = { name: "db-0", namespace: "kaa", uid: "1" };
  server.requestFault = () => answering(200, { items: [{}, { metadata }, "x"] });
  await expect(cluster.listPods("kaa", signal)).resolves.toMatchObject([{ name: "db-0" }]);
});

describe("a key of a Secret", () => {
  const read = () => cluster.readSecret("kaa", "db", "password", signal);

  test("is given as text", async () => {
    server.requestFault = () => answering(200, { data: { password: Buffer.from("pä$$").toString("base64") } });
    await expect(read()).resolves.toBe("pä$$");
  });
  test("that the Secret lacks is none", async () => {
    server.requestFault = () => answering(200, {});
    await expect(read()).resolves.toBeUndefined();
  });
  test("of a Secret that is absent is none", async () => {
    await expect(read()).resolves.toBeUndefined();
  });
  test("that may not be read is an error: it is not absent", async () => {
    server.requestFault = () => answering(403);
    await expect(read()).rejects.toMatchObject({ outcome: "forbidden" });
  });
});

describe("a pod that is not the one meant any more", () => {
  const meant = async (): Promise<Pod> => (await cluster.listPods("kaa", signal))[0]!;

  test("is told as replaced, and no port of its successor is used", async () => {
    const before = await meant();
    server.uid = "22222222-2222-2222-2222-222222222222";
    await expect(cluster.connect(before, 8200, signal)).rejects.toMatchObject({
      outcome: "storage-not-ready",
      message: 'pod "kaa/db-0" was replaced while we worked with it',
    });
  });
  test("is told as deleted", async () => {
    const before = await meant();
    server.requestFault = (_, path) => (path.endsWith("/pods/db-0") ? answering(404) : undefined);
    await expect(
      runForText(cluster, { pod: before, container: "main" }, { script: "x", signal }),
    ).rejects.toMatchObject({
      outcome: "storage-not-ready",
      message: expect.stringContaining("was deleted while we worked with it"),
    });
  });
  test("is not what an API server says that refuses to tell", async () => {
    const before = await meant();
    server.requestFault = (_, path) => (path.endsWith("/pods/db-0") ? answering(403) : undefined);
    await expect(cluster.connect(before, 8200, signal)).rejects.toMatchObject({ outcome: "forbidden" });
  });
});

describe("the answer of a command, as text", () => {
  const run = async (limitBytes?: number) => {
    const [pod] = await cluster.listPods("kaa", signal);
    return await runForText(cluster, { pod: pod!, container: "main" }, { script: "answer", signal }, limitBytes);
  };
  test("is what it wrote", async () => {
    await expect(run()).resolves.toBe("answer");
  });
  test("is an error when it is longer than it should be", async () => {
    await expect(run(5)).rejects.toMatchObject({
      outcome: "deadline",
      message: expect.stringContaining('pod "db-0" answers without end'),
    });
  });
});

test("a lock that may not be looked at is not taken for free", async () => {
  server.requestFault = () => answering(403);
  await expect(cluster.lock("kaa", "create", signal)).rejects.toMatchObject({ outcome: "forbidden" });
  await expect(cluster.checkLock("kaa", signal)).rejects.toMatchObject({ outcome: "forbidden" });
  expect(server.leases.size).toBe(0);
});

test("every request is told before it is sent, and no command is in it", async () => {
  const told: string[] = [];
  const telling = await connectCluster({ kubeconfig: server.kubeconfig, onRequest: (each) => told.push(each) });
  const [pod] = await telling.listPods("kaa", signal);
  await runForText(telling, { pod: pod!, container: "main" }, { script: "x", signal });
  (await telling.connect(pod!, 8200, signal).catch(() => undefined))?.destroy();
  expect(new Set(told)).toEqual(
    new Set([
      "GET /api/v1/namespaces/kaa/pods",
      "GET /api/v1/namespaces/kaa/pods/db-0",
      'GET /api/v1/namespaces/kaa/pods/db-0/exec in container "main"',
      "GET /api/v1/namespaces/kaa/pods/db-0/portforward",
    ]),
  );
});

test("the version and the clock of the cluster are its own words", async () => {
  await expect(cluster.version(signal)).resolves.toBe("v1.34.4");
  await expect(cluster.serverTime(signal)).resolves.toBeInstanceOf(Date);
});

test("rights are those that the server knows of", async () => {
  server.deniedRights.add("create pods/exec");
  const right = { group: "", verb: "create", resource: "pods/exec" };
  await expect(cluster.isAllowed("kaa", right, signal)).resolves.toBe(false);
  await expect(cluster.isAllowed("kaa", { ...right, resource: "pods" }, signal)).resolves.toBe(true);
});
