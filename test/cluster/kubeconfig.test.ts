/** kubectl's flags, environment and files, as clientcmd reads them: who is spoken to, and as whom. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { connectCluster } from "../../src/cluster/connect.ts";
import { type AccessOptions, kubeconfigNames, readAccess } from "../../src/cluster/kubeconfig.ts";
import { FakeApiServer } from "../fakes/api-server.ts";

const folder = mkdtempSync(join(tmpdir(), "kaa-kubeconfig-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileWith(content: string | object, name = `config-${files++}`): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

/** One context with its cluster and user, all of the same name. */
function configOf(name: string, parts: { cluster?: object; user?: object; context?: object } = {}) {
  return {
    "current-context": name,
    clusters: [{ name, cluster: { server: `https://${name}.example`, ...parts.cluster } }],
    users: [{ name, user: { token: `token of ${name}`, ...parts.user } }],
    contexts: [{ name, context: { cluster: name, user: name, ...parts.context } }],
  };
}

const noHome = { HOME: join(folder, "nobody") };
const access = (options: AccessOptions) => readAccess({ environment: noHome, ...options });

async function sent(
  options: AccessOptions,
): Promise<Record<string, unknown> & { headers: Record<string, string | readonly string[]> }> {
  const { config, headers } = await access(options);
  const applied: { headers: Record<string, string>; [key: string]: unknown } = { headers: {} };
  await config.applyToHTTPSOptions(applied as never); // the library's type of Node's options
  const { headers: own, ...rest } = applied;
  const all: Record<string, unknown> = rest;
  return { ...all, headers: { ...own, ...headers } };
}

describe("which kubeconfig", () => {
  const a = fileWith(configOf("a", { context: { namespace: "of-a" } }));
  const b = fileWith({ ...configOf("b"), users: [{ name: "a", user: { token: "another a" } }] });

  test("$HOME/.kube/config when nothing else is said", async () => {
    const home = join(folder, "home");
    mkdirSync(join(home, ".kube"), { recursive: true });
    writeFileSync(join(home, ".kube", "config"), JSON.stringify(configOf("home")));
    await expect(access({ environment: { HOME: home } })).resolves.toMatchObject({ server: "https://home.example" });
  });

  test("of KUBECONFIG's files the first that says something wins, and some need not exist", async () => {
    const environment = { KUBECONFIG: [join(folder, "absent"), "", a, b, a].join(delimiter) };
    await expect(access({ environment })).resolves.toMatchObject({ contextName: "a", namespace: "of-a" });
    await expect(access({ environment, context: "b" })).resolves.toMatchObject({ server: "https://b.example" });
    await expect(sent({ environment })).resolves.toMatchObject({ headers: { Authorization: "Bearer token of a" } });
    await expect(kubeconfigNames({ environment })).resolves.toMatchObject({ contexts: ["a", "b"] });
  });

  test("--kubeconfig beats KUBECONFIG and must exist", async () => {
    const environment = { KUBECONFIG: a };
    await expect(access({ environment, kubeconfig: b })).resolves.toMatchObject({ contextName: "b" });
    await expect(access({ environment, kubeconfig: join(folder, "absent") })).rejects.toMatchObject({
      outcome: "usage",
      message: expect.stringContaining("absent"),
    });
  });

  test.each([
    ["no YAML", "a: b: c"],
    [
      "an alias bomb",
      `a: &a [${"x,".repeat(9)}x]\n${"bcdefgh".replaceAll(/./g, (c) => `${c}: &${c} [${`*${String.fromCharCode(c.charCodeAt(0) - 1)},`.repeat(9)}]\n`)}`,
    ],
  ])("%s is a usage error that names the file", async (_, content) => {
    const kubeconfig = fileWith(content);
    await expect(access({ kubeconfig })).rejects.toMatchObject({
      outcome: "usage",
      message: expect.stringContaining(kubeconfig),
    });
  });

  test("one of KUBECONFIG that is there and cannot be read is no absent one", async () => {
    await expect(access({ environment: { KUBECONFIG: [folder, a].join(delimiter) } })).rejects.toMatchObject({
      outcome: "usage",
      message: expect.stringContaining(`cannot read the kubeconfig "${folder}"`),
    });
  });

  test("an empty file says nothing about a server", async () => {
    await expect(access({ kubeconfig: fileWith("") })).rejects.toMatchObject({ outcome: "usage" });
  });

  test("paths in a file are relative to its folder", async () => {
    mkdirSync(join(folder, "deep"), { recursive: true });
    writeFileSync(join(folder, "deep", "ca.pem"), "the CA");
    writeFileSync(join(folder, "deep", "token"), "of a file\n");
    const content = configOf("deep", { cluster: { "certificate-authority": "ca.pem" }, user: { tokenFile: "token" } });
    const applied = await sent({ kubeconfig: fileWith(content, "deep/config") });
    expect(String(applied["ca"])).toBe("the CA");
    expect(applied.headers["Authorization"]).toBe("Bearer of a file\n"); // trimmed where it is sent
  });
});

describe("flags over the kubeconfig", () => {
  const kubeconfig = fileWith({
    ...configOf("one", {
      cluster: { "certificate-authority-data": Buffer.from("CA").toString("base64"), "tls-server-name": "name" },
      user: { "client-certificate-data": Buffer.from("cert").toString("base64") },
      context: { namespace: "of-one" },
    }),
    clusters: [
      {
        name: "one",
        cluster: { server: "https://one.example/", "tls-server-name": "name", "certificate-authority-data": "Q0E=" },
      },
      { name: "two", cluster: { server: "https://two.example" } },
    ],
    users: [
      { name: "one", user: { token: "one", "client-certificate-data": "Y2VydA==" } },
      { name: "two", user: { username: "u", password: "p" } },
    ],
  });

  test.each([
    ["--context", { context: "none" }, 'no context "none"'],
    ["--cluster", { cluster: "none" }, 'no cluster "none"'],
    ["--user", { user: "none" }, 'no user "none"'],
  ])("%s that is not there is a usage error that lists what is", async (_, flags, message) => {
    await expect(access({ kubeconfig, ...flags })).rejects.toMatchObject({
      outcome: "usage",
      message: expect.stringContaining(message),
      hints: [expect.stringContaining("one")],
    });
  });

  test("--context of a kubeconfig without any lists none", async () => {
    const empty = { kubeconfig: fileWith(""), context: "x" };
    await expect(access(empty)).rejects.toMatchObject({ outcome: "usage", hints: ["contexts: none"] });
  });

  test("--cluster and --user choose others than the context's", async () => {
    await expect(access({ kubeconfig, cluster: "two" })).resolves.toMatchObject({ server: "https://two.example" });
    await expect(sent({ kubeconfig, user: "two" })).resolves.toMatchObject({ auth: "u:p" });
  });

  test("--namespace beats the context's, which beats default", async () => {
    await expect(access({ kubeconfig, namespace: "x" })).resolves.toMatchObject({ namespace: "x" });
    await expect(access({ kubeconfig })).resolves.toMatchObject({ namespace: "of-one", server: "https://one.example" });
    await expect(access({ kubeconfig: fileWith(configOf("bare")) })).resolves.toMatchObject({ namespace: "default" });
  });

  test("--server brings no other server's name for its certificate, --tls-server-name does", async () => {
    await expect(sent({ kubeconfig })).resolves.toMatchObject({ servername: "name" });
    await expect(sent({ kubeconfig, server: "https://x" })).resolves.not.toHaveProperty("servername");
    await expect(sent({ kubeconfig, server: "https://x", tlsServerName: "y" })).resolves.toMatchObject({
      servername: "y",
    });
  });

  test("--token stands in place of all that the user has", async () => {
    const applied = await sent({ kubeconfig, token: "given" });
    expect(applied.headers["Authorization"]).toBe("Bearer given");
    expect(applied).not.toHaveProperty("cert");
  });

  test("--insecure-skip-tls-verify lets the kubeconfig's CA go, and is told", async () => {
    const insecure = { kubeconfig, insecureSkipTlsVerify: true };
    await expect(access(insecure)).resolves.toMatchObject({ isVerified: false });
    const applied = await sent(insecure);
    expect(applied).toMatchObject({ rejectUnauthorized: false });
    expect(applied).not.toHaveProperty("ca");
    await expect(access({ kubeconfig })).resolves.toMatchObject({ isVerified: true });
  });

  test("--certificate-authority beats a kubeconfig that does not check; both flags contradict each other", async () => {
    const careless = fileWith(configOf("careless", { cluster: { "insecure-skip-tls-verify": true } }));
    const certificateAuthority = fileWith("a CA");
    await expect(access({ kubeconfig: careless })).resolves.toMatchObject({ isVerified: false });
    await expect(access({ kubeconfig: careless, certificateAuthority })).resolves.toMatchObject({ isVerified: true });
    await expect(access({ kubeconfig, certificateAuthority, insecureSkipTlsVerify: true })).rejects.toMatchObject({
      outcome: "usage",
    });
  });

  test("data in the kubeconfig beats a file that it names", async () => {
    const both = {
      "client-certificate-data": Buffer.from("data").toString("base64"),
      "client-certificate": "/nowhere",
    };
    expect(String((await sent({ kubeconfig: fileWith(configOf("both", { user: both })) }))["cert"])).toBe("data");
  });

  test("--client-certificate and --client-key beat what the user has", async () => {
    const flags = { clientCertificate: fileWith("given cert"), clientKey: fileWith("given key") };
    const applied = await sent({ kubeconfig, ...flags });
    expect([applied["cert"], applied["key"]].map(String)).toEqual(["given cert", "given key"]);
  });

  test.each(["ftp://x", "nonsense", "https://"])("%s is no address of a server", async (server) => {
    await expect(access({ kubeconfig, server })).rejects.toMatchObject({ outcome: "usage" });
  });
});

describe("acting as somebody", () => {
  const kubeconfig = fileWith(
    configOf("admin", { user: { as: "robot", "as-groups": ["machines"], "as-user-extra": { "a/b": ["1", "2"] } } }),
  );

  test("the kubeconfig says as whom, flags beat it one by one", async () => {
    expect((await access({ kubeconfig })).headers).toEqual({
      "Impersonate-User": "robot",
      "Impersonate-Group": ["machines"],
      "Impersonate-Extra-a%2Fb": ["1", "2"],
    });
    expect((await access({ kubeconfig, as: "me", asUid: "7", asGroup: ["x", "y"] })).headers).toMatchObject({
      "Impersonate-User": "me",
      "Impersonate-Group": ["x", "y"],
      "Impersonate-Uid": "7",
    });
  });

  test.each([{ asGroup: ["x"] }, { asUid: "7" }])("%o without a user is a usage error", async (flags) => {
    await expect(access({ kubeconfig: fileWith(configOf("plain")), ...flags })).rejects.toMatchObject({
      outcome: "usage",
    });
  });
});

describe("in a pod", () => {
  const serviceAccountFolder = join(folder, "account");
  mkdirSync(serviceAccountFolder);
  writeFileSync(join(serviceAccountFolder, "token"), "of the pod");
  writeFileSync(join(serviceAccountFolder, "ca.crt"), "CA of the pod");
  writeFileSync(join(serviceAccountFolder, "namespace"), "kaa\n");
  const environment = { ...noHome, KUBERNETES_SERVICE_HOST: "10.0.0.1", KUBERNETES_SERVICE_PORT: "443" };
  const pod = { environment, serviceAccountFolder };

  test("the service account counts when there is no kubeconfig", async () => {
    await expect(access(pod)).resolves.toMatchObject({ server: "https://10.0.0.1:443", namespace: "kaa" });
    await expect(sent(pod)).resolves.toMatchObject({ headers: { Authorization: "Bearer of the pod" } });
  });

  test("it can act as somebody else, and be given another server, token and namespace", async () => {
    expect((await access({ ...pod, as: "me" })).headers).toEqual({ "Impersonate-User": "me" });
    const flags = { ...pod, server: "https://other", token: "given", namespace: "x" };
    await expect(access(flags)).resolves.toMatchObject({ server: "https://other", namespace: "x" });
    await expect(sent(flags)).resolves.toMatchObject({ headers: { Authorization: "Bearer given" } });
  });

  test("a kubeconfig beats it", async () => {
    const KUBECONFIG = fileWith(configOf("outside", { context: { namespace: "there" } }));
    await expect(access({ ...pod, environment: { ...environment, KUBECONFIG } })).resolves.toMatchObject({
      server: "https://outside.example",
      namespace: "there",
    });
  });

  test("IPv6 addresses are put in brackets", async () => {
    const v6 = { ...pod, environment: { ...environment, KUBERNETES_SERVICE_HOST: "fd00::1" } };
    await expect(access(v6)).resolves.toMatchObject({ server: "https://[fd00::1]:443" });
  });
});

test("without a kubeconfig, --server and --token are enough", async () => {
  const server = new FakeApiServer([]);
  await server.start();
  try {
    const flags = {
      environment: noHome,
      server: server.url,
      token: "given",
      certificateAuthority: join(server.folder, "cert.pem"),
    };
    const cluster = await connectCluster({ ...flags, as: "me", asGroup: ["x", "y"] });
    await expect(cluster.version(AbortSignal.timeout(10_000))).resolves.toBe("v1.34.4");
    expect(server.requests[0]?.headers).toMatchObject({
      authorization: "Bearer given",
      "impersonate-user": "me",
      "impersonate-group": "x, y",
    });
  } finally {
    await server.stop();
  }
});

test("a credential plugin is told what kubectl tells it, and is found beside the kubeconfig", async () => {
  const plugin = join(folder, "plugin.sh");
  writeFileSync(
    plugin,
    `#!/bin/sh\nversion=$(echo "$KUBERNETES_EXEC_INFO" | sed 's/.*apiVersion":"\\([^"]*\\)".*/\\1/')
echo '{"status":{"token":"for '$version $EXTRA'"}}'\n`,
    { mode: 0o755 },
  );
  const exec = {
    apiVersion: "client.authentication.k8s.io/v1",
    command: "./plugin.sh",
    env: [{ name: "EXTRA", value: "x" }],
  };
  const kubeconfig = fileWith(configOf("exec", { user: { token: undefined, exec } }));
  const applied = await sent({ kubeconfig });
  expect(applied.headers["Authorization"]).toBe("Bearer for client.authentication.k8s.io/v1 x");
});

describe("a credential plugin that asks for the cluster", () => {
  const authority = fileWith("a CA");
  const toldOf = async (cluster: object, flags: AccessOptions = {}) => {
    const told = join(folder, "told");
    const script = `printf %s "$KUBERNETES_EXEC_INFO" >'${told}'; echo '{"status":{"token":"t"}}'`;
    const command = { command: "sh", args: ["-c", script], apiVersion: "v1", provideClusterInfo: true };
    const kubeconfig = fileWith(configOf("asking", { cluster, user: { token: undefined, exec: command } }));
    await sent({ kubeconfig, ...flags });
    return JSON.parse(readFileSync(told, "utf8")).spec.cluster;
  };

  test("is told its address and authority, and what the kubeconfig has for plugins", async () => {
    const extension = { shoot: "garden/one" };
    const extensions = [
      { name: "other", extension: {} },
      { name: "client.authentication.k8s.io/exec", extension },
    ];
    await expect(toldOf({ "certificate-authority": authority, extensions })).resolves.toEqual({
      server: "https://asking.example",
      "certificate-authority-data": Buffer.from("a CA").toString("base64"),
      "insecure-skip-tls-verify": false,
      config: extension,
    });
  });

  test("is told what flags say instead", async () => {
    const given = { "certificate-authority-data": "Q0E=", "tls-server-name": "name" };
    await expect(toldOf(given)).resolves.toMatchObject(given);
    const flags = { server: "https://given.example", insecureSkipTlsVerify: true };
    await expect(toldOf(given, flags)).resolves.toEqual({
      server: "https://given.example",
      "insecure-skip-tls-verify": true,
    });
  });

  test("an authority that cannot be read is a usage error", async () => {
    await expect(toldOf({ "certificate-authority": "absent.pem" })).rejects.toMatchObject({
      outcome: "usage",
      message: expect.stringContaining(`cannot read the certificate authority "${join(folder, "absent.pem")}"`),
    });
  });
});

test.each([
  ["that fails without a word", "exit 1", "failed without a word"],
  ["that says why it fails", "echo no session >&2; exit 1", "cannot be used: no session"],
])("a credential plugin %s is told as such", async (_, script, message) => {
  const exec = { command: "sh", args: ["-c", script] };
  const kubeconfig = fileWith(configOf("failing", { user: { token: undefined, exec } }));
  const cluster = await connectCluster({ environment: noHome, kubeconfig });
  await expect(cluster.version(AbortSignal.timeout(10_000))).rejects.toMatchObject({
    outcome: "credentials",
    message: expect.stringContaining(message),
  });
});

test("a user with a password and no token is known by the password", async () => {
  const server = new FakeApiServer([]);
  await server.start();
  try {
    const user = { token: undefined, username: "u", password: "p" };
    const cluster = { server: server.url, "certificate-authority": join(server.folder, "cert.pem") };
    const kubeconfig = fileWith(configOf("basic", { cluster, user }));
    const connected = await connectCluster({ environment: noHome, kubeconfig });
    await connected.version(AbortSignal.timeout(10_000));
    expect(server.requests[0]?.headers["authorization"]).toBe(`Basic ${Buffer.from("u:p").toString("base64")}`);
  } finally {
    await server.stop();
  }
});

test("the environment is the process's own unless another is given", async () => {
  const KUBECONFIG = fileWith(configOf("own"));
  vi.stubEnv("KUBECONFIG", KUBECONFIG);
  try {
    await expect(kubeconfigNames({})).resolves.toMatchObject({ contexts: ["own"] });
    await expect(readAccess({})).resolves.toMatchObject({ contextName: "own" });
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a kubeconfig that makes the YAML library warn prints nothing", async () => {
  const warnings: Error[] = [];
  const remember = (warning: Error) => void warnings.push(warning);
  process.on("warning", remember);
  try {
    await access({ kubeconfig: fileWith("%UNKNOWN directive\n---\nkind: Config\n"), server: "https://any.example" });
    await new Promise((resolve) => setImmediate(resolve)); // warnings are told in the next turn
  } finally {
    process.off("warning", remember);
  }
  expect(warnings).toEqual([]);
});
