/** A scripted Kubernetes API server on loopback: real TLS, real websocket frames, and exec that really runs the command on
 *  this machine, in a session of its own as a container runtime would. Its point is to do wrong what a test tells it. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type WebSocket, WebSocketServer } from "ws";
import { certificateFor } from "./certificate.ts";

/** What goes wrong with one exec. `afterBytes` counts standard output as sent to the client. */
export type ExecFault =
  | {
      readonly kind: "reset" | "close" | "silence" | "early-success" | "flip" | "duplicate" | "swap";
      readonly afterBytes: number;
    }
  | {
      readonly kind:
        | "no-status"
        | "bad-status"
        | "lose-last-frame"
        | "status-first"
        | "endless-status"
        | "text"
        | "channel-7";
    }
  | { readonly kind: "refuse"; readonly status: number; readonly body: string }
  | { readonly kind: "protocol"; readonly name: string };

export interface FakePod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Environment of commands in it; PATH too. */
  readonly env: Readonly<Record<string, string>>;
  readonly containerEnv?: readonly string[];
  /** Real ports on loopback by the pod's port. */
  readonly ports?: Readonly<Record<number, number>>;
}

const frameBytes = 32 * 1024;

export class FakeApiServer {
  readonly requests: { readonly method: string; readonly url: string }[] = [];
  readonly children = new Set<ChildProcess>();
  readonly folder = mkdtempSync(join(tmpdir(), "kaa-api-"));
  /** Asked for each exec, in order of arrival. */
  execFault: (argv: readonly string[]) => ExecFault | undefined = () => undefined;
  /** Protocols that the server speaks. */
  protocols: readonly string[] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
  uid = "11111111-1111-1111-1111-111111111111";
  leases = new Map<string, { resourceVersion: number; body: Record<string, unknown> }>();
  #pods: readonly FakePod[];
  #server: ReturnType<typeof createServer> | undefined;
  #sockets = new Set<Socket>();

  constructor(pods: readonly FakePod[]) {
    this.#pods = pods;
  }

  /** Starts listening. The caller must `stop()`. */
  async start(): Promise<void> {
    const certificate = certificateFor("fake", "IP:127.0.0.1");
    const cert = join(this.folder, "cert.pem");
    writeFileSync(cert, certificate.cert);
    this.#server = createServer(certificate, (request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        this.requests.push({ method: request.method ?? "", url: request.url ?? "" });
        const text = Buffer.concat(chunks).toString("utf8");
        const [status, body] = this.#answer(
          request.method ?? "GET",
          new URL(request.url ?? "/", "https://x"),
          text === "" ? undefined : JSON.parse(text),
        );
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
      });
    });
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket as Socket, head));
    await new Promise<void>((resolve) => this.#server?.listen(0, "127.0.0.1", resolve));
    const { port } = this.#server.address() as AddressInfo;
    writeFileSync(
      this.kubeconfig,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "fake",
        clusters: [{ name: "fake", cluster: { server: `https://127.0.0.1:${port}`, "certificate-authority": cert } }],
        users: [{ name: "fake", user: { token: "fake-token" } }],
        contexts: [{ name: "fake", context: { cluster: "fake", user: "fake", namespace: this.#pods[0]?.namespace } }],
      }),
    );
  }

  get kubeconfig(): string {
    return join(this.folder, "kubeconfig");
  }

  /** Ends everything, children too. */
  async stop(): Promise<void> {
    for (const child of this.children) if (child.pid !== undefined) killGroup(child.pid);
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server?.close(resolve));
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

  #answer(method: string, url: URL, body: unknown): [number, object] {
    const parts = url.pathname.split("/").slice(1).map(decodeURIComponent);
    if (url.pathname === "/version") return [200, { gitVersion: "v1.34.4" }];
    const lease = /^\/apis\/coordination.k8s.io\/v1\/namespaces\/([^/]+)\/leases/.exec(url.pathname)?.[1];
    if (lease !== undefined) return this.#lease(method, lease, body as Record<string, unknown>);
    const [, , , namespace, kind, name] = parts;
    const pods = this.#pods.filter((pod) => pod.namespace === namespace);
    if (kind === undefined && parts[2] === "namespaces")
      return pods.length > 0 ? [200, {}] : notFound(`namespaces "${namespace}"`);
    if (kind === "pods" && name === undefined) return [200, { metadata: {}, items: pods.map((pod) => this.#pod(pod)) }];
    const pod = pods.find((each) => each.name === name);
    return kind === "pods" && pod !== undefined ? [200, this.#pod(pod)] : notFound(url.pathname);
  }

  #lease(method: string, namespace: string, body: Record<string, unknown>): [number, object] {
    const known = this.leases.get(namespace);
    if (method === "GET") return known === undefined ? notFound("lease") : [200, known.body];
    const given = (body["metadata"] as { resourceVersion?: string }).resourceVersion;
    const conflict = method === "POST" ? known !== undefined : String(known?.resourceVersion) !== given;
    if (conflict) return [409, { kind: "Status", message: "the object has been modified" }];
    const resourceVersion = (known?.resourceVersion ?? 0) + 1;
    const stored = { ...body, metadata: { ...(body["metadata"] as object), resourceVersion: String(resourceVersion) } };
    this.leases.set(namespace, { resourceVersion, body: stored });
    return [200, stored];
  }

  #pod(pod: FakePod): object {
    return {
      metadata: {
        name: pod.name,
        namespace: pod.namespace,
        uid: this.uid,
        labels: pod.labels,
        ownerReferences: [{ controller: true, kind: "StatefulSet", name: pod.name.replace(/-0$/, "") }],
      },
      spec: { containers: [{ name: "main", env: (pod.containerEnv ?? []).map((name) => ({ name, value: "x" })) }] },
      status: {
        phase: "Running",
        conditions: [{ type: "Ready", status: "True" }],
        containerStatuses: [{ name: "main", ready: true }],
      },
    };
  }

  #upgrade(request: import("node:http").IncomingMessage, socket: Socket, head: Buffer): void {
    const url = new URL(request.url ?? "/", "https://x");
    this.requests.push({ method: "UPGRADE", url: request.url ?? "" });
    const pod = this.#pods.find((each) => url.pathname.includes(`/namespaces/${each.namespace}/pods/${each.name}/`));
    const argv = url.searchParams.getAll("command");
    const fault = url.pathname.endsWith("/exec") ? this.execFault(argv) : undefined;
    if (fault?.kind === "refuse" || pod === undefined) {
      const { status, body } =
        fault?.kind === "refuse" ? fault : { status: 404, body: '{"kind":"Status","message":"no such pod"}' };
      socket.end(
        `HTTP/1.1 ${status} Refused\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
      return;
    }
    const handleProtocols = (offered: Set<string>) => {
      if (fault?.kind === "protocol") return fault.name === "" ? false : fault.name;
      return [...offered].find((each) => this.protocols.includes(each)) ?? false;
    };
    new WebSocketServer({ noServer: true, handleProtocols, maxPayload: 1 << 30 }).handleUpgrade(
      request,
      socket,
      head,
      (client) => {
        if (url.pathname.endsWith("/portforward")) forward(client, pod, Number(url.searchParams.get("ports")));
        else this.#exec(client, socket, pod, argv, fault);
      },
    );
  }

  #exec(client: WebSocket, socket: Socket, pod: FakePod, argv: readonly string[], fault: ExecFault | undefined): void {
    const [file = "false", ...args] = argv;
    // detached: a session of its own, as runc gives an exec
    const child = spawn(file, args, { env: { PATH: process.env["PATH"], ...pod.env }, detached: true, stdio: "pipe" });
    this.children.add(child);
    child.stdin.on("error", () => {});
    let sent = 0;
    let silent = false;
    let held: Buffer | undefined;
    const deliver = (frame: Buffer) => {
      if (!silent && client.readyState === client.OPEN) client.send(frame);
    };
    const status = (code: number | null) =>
      code === 0
        ? { metadata: {}, status: "Success" }
        : {
            metadata: {},
            status: "Failure",
            message: `command terminated with exit code ${code}`,
            reason: "NonZeroExitCode",
            details: { causes: [{ reason: "ExitCode", message: String(code ?? 137) }] },
          };
    const strike = (frame: Buffer): boolean => {
      if (fault === undefined || !("afterBytes" in fault) || sent < fault.afterBytes) return false;
      const now = fault;
      fault = undefined;
      if (now.kind === "reset") socket.destroy();
      else if (now.kind === "close") client.close(1000);
      else if (now.kind === "silence") {
        silent = true;
        socket.pause(); // nor are pings answered
      } else if (now.kind === "early-success") {
        deliver(Buffer.concat([Buffer.from([3]), Buffer.from(JSON.stringify(status(0)))]));
        client.close(1000);
        silent = true;
      } else if (now.kind === "flip") {
        frame[frame.byteLength - 1] = (frame[frame.byteLength - 1] ?? 0) ^ 1;
        deliver(frame);
      } else if (now.kind === "duplicate") {
        deliver(frame);
        deliver(frame);
      } else held = frame; // swap: sent after the next one
      return true;
    };
    const pump = (channel: number, stream: NodeJS.ReadableStream) => {
      stream.on("data", (chunk: Buffer) => {
        for (let start = 0; start < chunk.byteLength; start += frameBytes) {
          const frame = Buffer.concat([Buffer.from([channel]), chunk.subarray(start, start + frameBytes)]);
          if (channel === 1 && strike(frame)) continue;
          deliver(frame);
          if (channel === 1) sent += frame.byteLength - 1;
          if (channel === 1 && held !== undefined) {
            deliver(held);
            held = undefined;
          }
        }
        if (client.bufferedAmount > 1 << 20) {
          stream.pause();
          const timer = setInterval(() => {
            if (client.bufferedAmount > 1 << 18 && client.readyState === client.OPEN) return;
            clearInterval(timer);
            stream.resume();
          }, 5);
        }
      });
    };
    const kind = fault?.kind;
    if (kind === "text") client.send("hello");
    if (kind === "channel-7") client.send(Buffer.from([7, 1, 2]));
    if (kind === "endless-status")
      for (let n = 0; n < 64; n++) client.send(Buffer.concat([Buffer.from([3]), Buffer.alloc(8192, "{")]));
    if (kind === "lose-last-frame") {
      const frames: Buffer[] = [];
      child.stdout.on("data", (chunk: Buffer) => frames.push(chunk));
      child.stdout.on("end", () => {
        for (const chunk of frames.slice(0, -1)) deliver(Buffer.concat([Buffer.from([1]), chunk]));
      });
    } else pump(1, child.stdout);
    pump(2, child.stderr);
    client.on("message", (message: Buffer) => {
      if (message[0] === 0 && !child.stdin.write(message.subarray(1))) {
        socket.pause();
        child.stdin.once("drain", () => socket.resume());
      } else if (message[0] === 255) child.stdin.end();
    });
    client.on("close", () => child.stdin.end());
    client.on("error", () => {});
    child.on("close", (code) => {
      this.children.delete(child);
      if (held !== undefined) deliver(held);
      if (kind === "no-status") client.close(1000);
      else if (kind === "bad-status") {
        deliver(Buffer.concat([Buffer.from([3]), Buffer.from("not json")]));
        client.close(1000);
      } else if (!silent) {
        deliver(Buffer.concat([Buffer.from([3]), Buffer.from(JSON.stringify(status(code)))]));
        client.close(1000);
      }
    });
  }
}

function forward(client: WebSocket, pod: FakePod, port: number): void {
  const portBytes = Buffer.from([port & 255, port >> 8]);
  for (const channel of [0, 1]) client.send(Buffer.concat([Buffer.from([channel]), portBytes]));
  const real = pod.ports?.[port];
  const refuse = () =>
    client.send(
      Buffer.concat([Buffer.from([1]), Buffer.from(`dial tcp 127.0.0.1:${port}: connect: connection refused`)]),
    );
  if (real === undefined) {
    refuse();
    return;
  }
  const upstream = connect(real, "127.0.0.1");
  upstream.on("data", (chunk) => client.send(Buffer.concat([Buffer.from([0]), chunk])));
  upstream.on("error", refuse);
  upstream.on("close", () => client.close(1000));
  client.on("message", (message: Buffer) => {
    if (message[0] === 0) upstream.write(message.subarray(1));
  });
  client.on("close", () => upstream.destroy());
}

function notFound(what: string): [number, object] {
  return [404, { kind: "Status", message: `${what} not found` }];
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
