/** The built program and the API server: every way to prove who we are, and that the server is the server, for requests, exec
 *  and port-forward alike. The API server's audit log tells who did what. bun's TLS and websockets are not Node's, so that
 *  what holds for the sources is shown again for the program. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { certificateFor } from "../fakes/certificate.ts";
import { bedEnvironment, kubectl, program, type Ran } from "./bed.ts";

const namespace = "production-kaa";
const account = "kaa-e2e-binary";
const accountUser = `system:serviceaccount:${namespace}:${account}`;
const certificateUser = "kaa-e2e-binary-certificate";
const role = "kaa-e2e-binary";
const scratch = mkdtempSync(join(tmpdir(), "kaa-binary-"));
/** PostgreSQL is asked by exec, MinIO through a port-forward. */
const look = ["storages", "-n", namespace, "--storage", "postgresql,minio", "-o", "json"];

let server: URL;
let authority: string;
let token: string;
const certificate = { file: join(scratch, "client.crt"), key: join(scratch, "client.key") };

beforeAll(async () => {
  const shown = JSON.parse(await kubectl(["config", "view", "--raw", "--minify", "-o", "json"]));
  server = new URL(shown.clusters[0].cluster.server);
  authority = shown.clusters[0].cluster["certificate-authority-data"];
  await takeAway();
  await kubectl(["create", "-f", "-"], JSON.stringify({ apiVersion: "v1", kind: "List", items: rights() }));
  token = (await kubectl(["create", "token", account, "-n", namespace, "--duration", "1h"])).trim();
  await issueCertificate();
});
afterAll(async () => {
  await takeAway();
  rmSync(scratch, { recursive: true });
});

function rights(): object[] {
  const named = (name: string) => ({ name, namespace });
  return [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: named(account) },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: named(role),
      rules: [
        { apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] },
        { apiGroups: [""], resources: ["pods/exec", "pods/portforward"], verbs: ["get", "create"] },
        { apiGroups: [""], resources: ["secrets"], verbs: ["get"] },
      ],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: named(role),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role },
      subjects: [
        { kind: "ServiceAccount", ...named(account) },
        { kind: "User", apiGroup: "rbac.authorization.k8s.io", name: certificateUser },
      ],
    },
  ];
}

async function takeAway(): Promise<void> {
  const names = [`rolebinding/${role}`, `role/${role}`, `serviceaccount/${account}`, `csr/${certificateUser}`];
  await kubectl(["delete", "-n", namespace, "--ignore-not-found", ...names]);
}

/** A client certificate that the cluster's own signer gives out. */
async function issueCertificate(): Promise<void> {
  const request = join(scratch, "client.csr");
  const args = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", `/CN=${certificateUser}`];
  execFileSync("openssl", [...args, "-keyout", certificate.key, "-out", request], { stdio: "pipe" });
  const signing = {
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { name: certificateUser },
    spec: {
      request: readFileSync(request).toString("base64"),
      signerName: "kubernetes.io/kube-apiserver-client",
      usages: ["client auth"],
    },
  };
  await kubectl(["create", "-f", "-"], JSON.stringify(signing));
  await kubectl(["certificate", "approve", certificateUser]);
  await kubectl(["wait", `csr/${certificateUser}`, "--for=jsonpath={.status.certificate}", "--timeout=60s"]);
  const issued = await kubectl(["get", "csr", certificateUser, "-o", "jsonpath={.status.certificate}"]);
  writeFileSync(certificate.file, Buffer.from(issued, "base64"));
}

/** A kubeconfig with one user. */
function kubeconfig(user: object, cluster: object = {}): string {
  const file = join(mkdtempSync(join(scratch, "config-")), "kubeconfig");
  const content = {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "bed",
    clusters: [
      { name: "bed", cluster: { server: server.origin, "certificate-authority-data": authority, ...cluster } },
    ],
    users: [{ name: "user", user }],
    contexts: [{ name: "bed", context: { cluster: "bed", user: "user", namespace } }],
  };
  writeFileSync(file, JSON.stringify(content));
  return file;
}

const base64 = (file: string) => readFileSync(file).toString("base64");
const auditLog = () => bedEnvironment()["BED_AUDIT_LOG"] ?? "";

interface AuditEvent {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly impersonatedUser?: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code: number };
}

/** Runs the program and tells what the API server saw of `user` meanwhile: "list pods", "get pods/exec 101". */
async function watched(user: string, args: readonly string[], env: Record<string, string> = {}) {
  const from = statSync(auditLog()).size;
  const ran = await program(args, { env });
  await new Promise((resolve) => setTimeout(resolve, 2000)); // the log is written within a second
  const events = readFrom(auditLog(), from)
    .split("\n")
    .filter((line) => line.endsWith("}"))
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter((event) => (event.impersonatedUser ?? event.user).username === user);
  const did = events.map(({ objectRef }) => [objectRef?.resource, objectRef?.subresource].filter(Boolean).join("/"));
  return { ran, did: new Set(did) };
}

function readFrom(file: string, from: number): string {
  const bytes = Buffer.alloc(statSync(file).size - from);
  const opened = openSync(file, "r");
  readSync(opened, bytes, 0, bytes.length, from);
  closeSync(opened);
  return bytes.toString("utf8");
}

function expectAll({ ran, did }: { ran: Ran; did: ReadonlySet<string> }): void {
  expect(ran.code, ran.stderr).toBe(0);
  const { storages, failures } = JSON.parse(ran.stdout);
  expect(storages.map(({ storage }: { storage: string }) => storage).sort()).toEqual(["minio", "postgresql"]);
  expect(failures).toEqual([]);
  expect([...did]).toEqual(expect.arrayContaining(["pods", "pods/exec", "pods/portforward"]));
}

test("a client certificate in the kubeconfig is used for requests, exec and port-forward", async () => {
  const file = kubeconfig({
    "client-certificate-data": base64(certificate.file),
    "client-key-data": base64(certificate.key),
  });
  expectAll(await watched(certificateUser, [...look, "--kubeconfig", file]));
});

test("a client certificate given by flags goes over the kubeconfig's user", async () => {
  const flags = ["--client-certificate", certificate.file, "--client-key", certificate.key];
  expectAll(await watched(certificateUser, [...look, "--kubeconfig", kubeconfig({}), ...flags]));
});

test("a bearer token in the kubeconfig is used for requests, exec and port-forward", async () => {
  expectAll(await watched(accountUser, [...look, "--kubeconfig", kubeconfig({ token })]));
});

test("a bearer token in a file, as a pod has it", async () => {
  const tokenFile = join(scratch, "token");
  writeFileSync(tokenFile, token);
  expectAll(await watched(accountUser, [...look, "--kubeconfig", kubeconfig({ tokenFile })]));
});

test("a bearer token given by a flag goes over the kubeconfig's user", async () => {
  expectAll(await watched(accountUser, [...look, "--token", token]));
});

/** A credential plugin, as cloud providers have them. */
function plugin(status: object): object {
  const file = join(mkdtempSync(join(scratch, "plugin-")), "plugin.sh");
  const credential = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", status };
  writeFileSync(file, `#!/bin/sh\n[ "$GREETING" = hello ] && cat <<'J'\n${JSON.stringify(credential)}\nJ\n`);
  chmodSync(file, 0o755);
  return {
    exec: {
      apiVersion: "client.authentication.k8s.io/v1",
      command: file,
      env: [{ name: "GREETING", value: "hello" }],
      interactiveMode: "Never",
    },
  };
}

test("a credential plugin's token is used for requests, exec and port-forward", async () => {
  expectAll(await watched(accountUser, [...look, "--kubeconfig", kubeconfig(plugin({ token }))]));
});

test("a credential plugin's client certificate is used for requests, exec and port-forward", async () => {
  const status = {
    clientCertificateData: readFileSync(certificate.file, "utf8"),
    clientKeyData: readFileSync(certificate.key, "utf8"),
  };
  expectAll(await watched(certificateUser, [...look, "--kubeconfig", kubeconfig(plugin(status))]));
});

test("a credential plugin that fails is an error of credentials", async () => {
  const user = { exec: { apiVersion: "client.authentication.k8s.io/v1", command: "false", interactiveMode: "Never" } };
  const ran = await program([...look, "--kubeconfig", kubeconfig(user)]);
  expect(ran.code, ran.stderr).toBe(12);
  expect(ran.stderr).toContain("the credential plugin failed without a word");
});

test("--as acts as another for requests, exec and port-forward, with that one's rights alone", async () => {
  expectAll(await watched(accountUser, [...look, "--as", accountUser]));
  const refused = await program([...look, "--as", "nobody"]);
  expect(refused.code, refused.stderr).toBe(7);
  expect(refused.stderr).toContain('"nobody" cannot list resource "pods"');
});

test("a server whose certificate another authority signed is refused, and hears nothing of us", async () => {
  const other = Buffer.from(certificateFor("another authority").cert).toString("base64");
  const file = kubeconfig({ token }, { "certificate-authority-data": other });
  const { ran, did } = await watched(accountUser, [...look, "--kubeconfig", file]);
  expect(ran.code, ran.stderr).toBe(6);
  expect(ran.stderr).toMatch(/certificate/);
  expect([...did]).toEqual([]);
  const unchecked = [...look, "--kubeconfig", kubeconfig({ token }, { "certificate-authority-data": undefined })];
  expect((await program(unchecked)).code, "without any authority").toBe(6);
  expectAll(await watched(accountUser, [...unchecked, "--insecure-skip-tls-verify"]));
});

test("what lies in the folder of the call, or at home, is not taken for settings of the program", async () => {
  const folder = mkdtempSync(join(scratch, "folder-"));
  const mark = join(folder, "was-run");
  writeFileSync(join(folder, ".env"), "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1\n");
  writeFileSync(join(folder, "preload.js"), `require("fs").writeFileSync(${JSON.stringify(mark)}, "")`);
  for (const name of ["bunfig.toml", ".bunfig.toml"])
    writeFileSync(join(folder, name), `preload = ["${folder}/preload.js"]\n`);
  const where = ["-n", namespace, "-o", "name"];
  const made = await program(["create", ...where, "--storage", "postgresql"]);
  expect(made.code, made.stderr).toBe(0);
  const ran = await program(["list", ...where], { cwd: folder, env: { HOME: folder } });
  expect(ran.code, ran.stderr).toBe(0);
  expect(ran.stdout).toContain(made.stdout.trim());
  expect(existsSync(mark)).toBe(false);
});

/** Listens on loopback; each connection goes where `target` says. */
async function listen(handle: (inside: Socket, count: number) => void) {
  const open = new Set<Socket>();
  let count = 0;
  const listener = createTcpServer((inside) => {
    open.add(inside);
    inside.on("error", () => {});
    handle(inside, ++count);
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return {
    port: (listener.address() as AddressInfo).port,
    count: () => count,
    close() {
      for (const socket of open) socket.destroy();
      listener.close();
    },
  };
}

/** Both ways, to the end of either. */
function splice(inside: Socket, port: number, host: string): void {
  const outside = connect(port, host);
  outside.on("error", () => inside.destroy());
  inside.on("close", () => outside.destroy());
  inside.pipe(outside).pipe(inside);
}

test("an impostor is refused and hears nothing, whichever connection it takes over", async () => {
  let heardBytes = 0;
  const impostor = createTlsServer(certificateFor("impostor", "IP:127.0.0.1"), (socket) => {
    socket.on("data", (chunk) => {
      heardBytes += chunk.length;
    });
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => impostor.listen(0, "127.0.0.1", resolve));
  impostor.on("tlsClientError", () => {});
  const impostorPort = (impostor.address() as AddressInfo).port;
  let refusals = 0;
  try {
    for (let taken = 1, reached = true; reached; taken++) {
      const door = await listen((inside, count) => {
        if (count >= taken) splice(inside, impostorPort, "127.0.0.1");
        else splice(inside, Number(server.port || 443), server.hostname);
      });
      const ran = await program([...look, "--server", `https://127.0.0.1:${door.port}`]);
      door.close();
      reached = door.count() >= taken;
      expect(ran.code === 0, `connection ${taken}: ${ran.stderr}`).toBe(!reached);
      if (reached) {
        refusals += 1;
        expect(ran.stdout + ran.stderr, `connection ${taken}`).toMatch(/certificate/);
      }
      expect(heardBytes).toBe(0);
    }
  } finally {
    impostor.close();
  }
  expect(refusals, "requests, exec and port-forward are more than two connections").toBeGreaterThan(2);
});

test("--tls-server-name says whose certificate is expected, for requests, exec and port-forward", async () => {
  const door = await listen((inside) => splice(inside, Number(server.port || 443), server.hostname));
  const through = [...look, "--token", token, "--server", `https://localhost:${door.port}`];
  expectAll(await watched(accountUser, [...through, "--tls-server-name", "kubernetes.default.svc"]));
  const wrong = await program([...through, "--tls-server-name", "kubernetes.example.org"]);
  expect(wrong.code, wrong.stderr).toBe(6);
  door.close();
});

test("HTTPS_PROXY carries requests, exec and port-forward; nothing goes past it", async () => {
  const asked: { readonly to: string; readonly authorization: string | undefined }[] = [];
  const proxy = createHttpServer((_request, response) => response.writeHead(405).end());
  proxy.on("connect", ({ url, headers }, inside: Socket) => {
    asked.push({ to: url ?? "", authorization: headers["proxy-authorization"] });
    const outside = connect(Number(server.port || 443), server.hostname, () => {
      inside.write("HTTP/1.1 200 Connection established\r\n\r\n");
      inside.pipe(outside).pipe(inside);
    });
    for (const socket of [inside, outside]) socket.on("error", () => {});
    inside.on("close", () => outside.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const { port } = proxy.address() as AddressInfo;
  // A name that nothing but the proxy knows.
  const args = [...look, "--server", "https://api.invalid:6443", "--tls-server-name", "kubernetes.default.svc"];
  const env = { HTTPS_PROXY: `http://operator:p%40ss@127.0.0.1:${port}` };
  try {
    expectAll(await watched(accountUser, [...args, "--token", token], env));
    expectAll(
      await watched(
        certificateUser,
        [...args, "--client-certificate", certificate.file, "--client-key", certificate.key],
        env,
      ),
    );
    expect(new Set(asked.map(({ to }) => to))).toEqual(new Set(["api.invalid:6443"]));
    const basic = `Basic ${Buffer.from("operator:p@ss").toString("base64")}`;
    expect(new Set(asked.map(({ authorization }) => authorization))).toEqual(new Set([basic]));
    const before = asked.length;
    const past = await program([...args, "--token", token], { env: { ...env, NO_PROXY: ".invalid" } });
    expect(past.code, "the name resolves without the proxy").toBe(6);
    expect(asked.length).toBe(before);
  } finally {
    proxy.close();
    proxy.closeAllConnections();
  }
});
