/** A scripted Kubernetes API server on loopback: real TLS, real websocket frames, and exec that really runs the command on
 *  this machine, in a session of its own as a container runtime would. Its point is to do wrong what a test tells it. */
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type WebSocket, WebSocketServer } from "ws";
import { type Answer, answerExec, type Cut } from "./api-answer.ts";
import { type ExecFault, endGroup, runExec } from "./api-exec.ts";
import { type ForwardFault, runForward } from "./api-forward.ts";
import { certificateFor } from "./certificate.ts";

export type { ExecFault } from "./api-exec.ts";
export type { ForwardFault } from "./api-forward.ts";

/** What goes wrong with one request that is no websocket. */
export type RequestFault =
  | "reset"
  | "hang"
  | { readonly status: number; readonly body: string; readonly headers?: Readonly<Record<string, string>> };

export interface FakePod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Environment of commands in it; PATH too. */
  readonly env: Readonly<Record<string, string>>;
  readonly containerEnv?: readonly string[];
  /** Default: one, "main". */
  readonly containers?: readonly string[];
  /** Default: true. */
  readonly ready?: boolean;
  /** Default: "Running". */
  readonly phase?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Answers commands in place of a process. */
  readonly answer?: Answer;
  /** Real ports on loopback by the pod's port. */
  readonly ports?: Readonly<Record<number, number>>;
}

export interface FakeCertificate {
  readonly key: string;
  readonly cert: string;
  /** What the kubeconfig trusts, when it is another. */
  readonly trusted?: string;
}

export class FakeApiServer {
  readonly requests: { readonly method: string; readonly url: string; readonly headers: IncomingHttpHeaders }[] = [];
  readonly children = new Set<ChildProcess>();
  readonly folder = mkdtempSync(join(tmpdir(), "kaa-api-"));
  /** Asked for each exec, in order of arrival. */
  execFault: (argv: readonly string[]) => ExecFault | undefined = () => undefined;
  forwardFault: (port: number) => ForwardFault | undefined = () => undefined;
  requestFault: (method: string, path: string) => RequestFault | undefined = () => undefined;
  /** Asked for each command that a function answers, in order of arrival. */
  execCut: (argv: readonly string[]) => Cut | undefined = () => undefined;
  /** Called at each request and each frame of a command that a function answers. */
  onEvent: () => void = () => undefined;
  /** Messages and pings that came from clients whose command had ended. */
  sentTooLate = 0;
  /** A load balancer or kubelet that cuts a websocket after so long without anything, or without data: pings do not count. */
  idleCut: { readonly afterMs: number; readonly counts: "everything" | "data" } | undefined;
  /** Protocols that the server speaks. */
  protocols: readonly string[] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
  /** Of every pod. */
  uid = "11111111-1111-1111-1111-111111111111";
  /** "create pods/exec": what a review of rights says no to. Requests themselves are not refused by it. */
  readonly deniedRights = new Set<string>();
  /** What else a namespace has: by "kind/name". */
  readonly objects = new Map<string, { readonly metadata: { readonly namespace: string } }>();
  leases = new Map<string, { resourceVersion: number; body: Record<string, unknown> }>();
  pods: readonly FakePod[];
  readonly #forwarded = new Set<WebSocket>();
  #server: ReturnType<typeof createServer> | undefined;
  #sockets = new Set<Socket>();
  #port = 0;

  constructor(pods: readonly FakePod[]) {
    this.pods = pods;
  }

  /** Starts listening. The caller must `stop()`. */
  async start(
    certificate: FakeCertificate = certificateFor("fake", "IP:127.0.0.1"),
    token = "fake-token",
  ): Promise<void> {
    const trusted = join(this.folder, "cert.pem");
    writeFileSync(trusted, certificate.trusted ?? certificate.cert);
    this.#server = createServer(certificate, (request, response) => void this.#serve(request, response));
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    await this.listen();
    const cluster = { server: this.url, "certificate-authority": trusted };
    writeFileSync(
      this.kubeconfig,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "fake",
        clusters: [{ name: "fake", cluster }],
        users: [{ name: "fake", user: { token } }],
        contexts: [{ name: "fake", context: { cluster: "fake", user: "fake", namespace: this.pods[0]?.namespace } }],
      }),
    );
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  get kubeconfig(): string {
    return join(this.folder, "kubeconfig");
  }

  /** Listens where it listened before, if it did. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server?.listen(this.#port, "127.0.0.1", resolve));
    const address = this.#server?.address() as AddressInfo; // it listens on TCP
    this.#port = address.port;
  }

  /** Goes away as a server that is stopped: every connection breaks, no new one is taken. */
  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server?.close(resolve));
  }

  /** Cuts every forwarded connection that is open now. */
  cutForwards(): void {
    for (const client of this.#forwarded) client.terminate();
  }

  /** Ends everything, children too. */
  async stop(): Promise<void> {
    for (const child of this.children) endGroup(child);
    await this.close();
    rmSync(this.folder, { recursive: true });
  }

  /** Waits until no command runs any more; false when that takes longer. */
  async quiet(withinMs: number): Promise<boolean> {
    for (
      const end = Date.now() + withinMs;
      this.children.size > 0;
      await new Promise((resolve) => setTimeout(resolve, 50))
    ) {
      if (Date.now() > end) return false;
    }
    return true;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    try {
      for await (const chunk of request) text += String(chunk);
    } catch {
      return; // the client went away
    }
    const [method, path] = [request.method ?? "GET", request.url ?? "/"];
    this.requests.push({ method, url: path, headers: request.headers });
    this.onEvent();
    const fault = this.requestFault(method, path);
    if (fault === "hang") return;
    if (fault === "reset") request.socket.destroy();
    else if (fault !== undefined) response.writeHead(fault.status, fault.headers ?? {}).end(fault.body);
    else {
      const [status, body] = this.#answer(method, new URL(path, "https://x"), text === "" ? {} : JSON.parse(text));
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    }
  }

  #answer(method: string, url: URL, body: Record<string, unknown>): [number, object] {
    const parts = url.pathname.split("/").slice(1).map(decodeURIComponent);
    if (url.pathname === "/version") return [200, { gitVersion: "v1.34.4" }];
    if (url.pathname.endsWith("/selfsubjectaccessreviews")) return this.#review(body);
    const lease = /^\/apis\/coordination.k8s.io\/v1\/namespaces\/([^/]+)\/leases/.exec(url.pathname)?.[1];
    if (lease !== undefined) return this.#lease(method, lease, body);
    const plain = /\/namespaces\/([^/]+)\/(cronjobs|jobs|configmaps)(?:\/([^/]+))?$/.exec(url.pathname);
    if (method === "GET" && plain !== null) return this.#object(plain[1] ?? "", plain[2] ?? "", plain[3]);
    if (url.pathname === "/api/v1/namespaces") {
      const names = new Set(this.pods.map((pod) => pod.namespace));
      return [200, { items: [...names].map((each) => ({ metadata: { name: each } })) }];
    }
    const [, , , namespace, kind, name] = parts;
    const pods = this.pods.filter((pod) => pod.namespace === namespace);
    if (kind === undefined && parts[2] === "namespaces")
      return pods.length > 0 ? [200, {}] : notFound(`namespaces "${namespace}"`);
    if (kind === "pods" && name === undefined) return [200, this.#page(pods, url.searchParams)];
    const pod = pods.find((each) => each.name === name);
    return kind === "pods" && pod !== undefined ? [200, this.#pod(pod)] : notFound(url.pathname);
  }

  /** Labels are not looked at. */
  #object(namespace: string, kind: string, name: string | undefined): [number, object] {
    const here = [...this.objects].filter(([, { metadata }]) => metadata.namespace === namespace);
    if (name === undefined)
      return [
        200,
        { metadata: {}, items: here.flatMap(([key, object]) => (key.startsWith(`${kind}/`) ? [object] : [])) },
      ];
    const [, found] = here.find(([key]) => key === `${kind}/${name}`) ?? [];
    return found === undefined ? notFound(`${kind} "${name}"`) : [200, found];
  }

  #page(pods: readonly FakePod[], query: URLSearchParams): object {
    const [from, limit] = [Number(query.get("continue") ?? 0), Number(query.get("limit") ?? pods.length)];
    const next = from + limit < pods.length ? { continue: String(from + limit) } : {};
    return { metadata: next, items: pods.slice(from, from + limit).map((pod) => this.#pod(pod)) };
  }

  #review(body: Record<string, unknown>): [number, object] {
    const { resourceAttributes } = body["spec"] as { resourceAttributes: Record<string, string> };
    const { verb, resource, subresource } = resourceAttributes;
    const right = `${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`}`;
    return [201, { status: { allowed: !this.deniedRights.has(right) } }];
  }

  #lease(method: string, namespace: string, body: Record<string, unknown>): [number, object] {
    const known = this.leases.get(namespace);
    if (method === "GET") return known === undefined ? notFound("lease") : [200, known.body];
    if (method === "PUT" && known === undefined) return notFound("lease");
    const given = (body["metadata"] as { resourceVersion?: string }).resourceVersion;
    const conflict = method === "POST" ? known !== undefined : String(known?.resourceVersion) !== given;
    if (conflict) return [409, { kind: "Status", message: "the object has been modified" }];
    const resourceVersion = (known?.resourceVersion ?? 0) + 1;
    const stored = { ...body, metadata: { ...(body["metadata"] as object), resourceVersion: String(resourceVersion) } };
    this.leases.set(namespace, { resourceVersion, body: stored });
    return [200, stored];
  }

  #pod(pod: FakePod): object {
    const ready = pod.ready ?? true;
    const names = pod.containers ?? ["main"];
    const env = (pod.containerEnv ?? []).map((name) => ({ name, value: "x" }));
    return {
      metadata: {
        name: pod.name,
        namespace: pod.namespace,
        uid: this.uid,
        labels: pod.labels,
        annotations: pod.annotations ?? {},
        ownerReferences: [{ controller: true, kind: "StatefulSet", name: pod.name.replace(/-\d+$/, "") }],
      },
      spec: { containers: names.map((name) => ({ name, env })) },
      status: {
        phase: pod.phase ?? "Running",
        conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
        containerStatuses: names.map((name) => ({ name, ready })),
      },
    };
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const url = new URL(request.url ?? "/", "https://x");
    this.requests.push({ method: "UPGRADE", url: request.url ?? "", headers: request.headers });
    this.onEvent();
    const pod = this.pods.find((each) => url.pathname.includes(`/namespaces/${each.namespace}/pods/${each.name}/`));
    const argv = url.searchParams.getAll("command");
    const port = Number(url.searchParams.get("ports"));
    const isExec = url.pathname.endsWith("/exec");
    const exec = isExec ? this.execFault(argv) : undefined;
    const forward = isExec ? undefined : this.forwardFault(port);
    const refusal = [exec, forward].find((each) => each?.kind === "refuse");
    if (refusal?.kind === "refuse" || pod === undefined) {
      refuseUpgrade(socket, refusal ?? { status: 404, body: '{"kind":"Status","message":"no such pod"}' });
      return;
    }
    const handleProtocols = (offered: Set<string>) => {
      if (exec?.kind === "protocol") return exec.name === "" ? false : exec.name;
      return [...offered].find((each) => this.protocols.includes(each)) ?? false;
    };
    new WebSocketServer({ noServer: true, handleProtocols, maxPayload: 1 << 30 }).handleUpgrade(
      request,
      socket,
      head,
      (client) => {
        if (this.idleCut !== undefined) cutWhenIdle(client, socket, this.idleCut);
        if (isExec && pod.answer !== undefined)
          answerExec({ client, socket }, argv, pod.answer, { cut: this.execCut(argv), onFrame: this.onEvent });
        else if (isExec)
          runExec(
            { client, socket, onLate: () => (this.sentTooLate += 1) },
            { argv, env: { ...basicEnvironment, ...pod.env } },
            this.children,
            exec,
          );
        else {
          this.#forwarded.add(client);
          client.on("close", () => this.#forwarded.delete(client));
          runForward(client, { port, real: pod.ports?.[port] }, forward);
        }
      },
    );
  }
}

const basicEnvironment = { PATH: process.env["PATH"] };

function refuseUpgrade(
  socket: Socket,
  refusal: { readonly status: number; readonly body: string; readonly headers?: Readonly<Record<string, string>> },
): void {
  const headers = { "content-length": Buffer.byteLength(refusal.body), connection: "close", ...refusal.headers };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${refusal.status} Refused\r\n${lines.join("")}\r\n${refusal.body}`);
}

function cutWhenIdle(
  client: WebSocket,
  socket: Socket,
  { afterMs, counts }: { readonly afterMs: number; readonly counts: "everything" | "data" },
): void {
  const cut = () => socket.destroy();
  let timer = setTimeout(cut, afterMs);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(cut, afterMs);
  };
  client.on("message", heard);
  if (counts === "everything") client.on("ping", heard);
  client.on("close", () => clearTimeout(timer));
}

function notFound(what: string): [number, object] {
  return [404, { kind: "Status", message: `${what} not found` }];
}
