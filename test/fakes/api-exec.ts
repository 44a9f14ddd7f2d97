/** Exec of the scripted API server: the command really runs, in a session of its own as a container runtime gives it; what
 *  goes wrong between it and the client is what a test tells. */
import { type ChildProcess, spawn } from "node:child_process";
import type { Socket } from "node:net";
import type { WebSocket } from "ws";

/** What goes wrong with one exec. `afterBytes` counts standard output as sent to the client. */
export type ExecFault =
  | {
      readonly kind:
        | "reset"
        | "close"
        | "fin"
        | "silence"
        | "early-success"
        | "flip"
        | "duplicate"
        | "swap"
        | "evict"
        | "call";
      readonly afterBytes: number;
      /** Of "close". Default: 1000. */
      readonly code?: number;
      /** Of "call": what happens then; the stream itself goes on. */
      readonly action?: () => void;
    }
  | {
      readonly kind:
        | "no-status"
        | "bad-status"
        | "unknown-reason"
        | "split-status"
        | "lose-last-frame"
        | "status-first"
        | "endless-status"
        | "text"
        | "channel-7"
        | "close-channel"
        | "empty-frames"
        | "huge-frame";
    }
  | {
      readonly kind: "refuse";
      readonly status: number;
      readonly body: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly kind: "protocol"; readonly name: string }
  /** These messages, whatever they are, and the end; no command runs. */
  | { readonly kind: "messages"; readonly messages: readonly (Uint8Array | string)[] };

const frameBytes = 32 * 1024;
/** Longer than anything that the command still writes takes to arrive. */
const statusFirstMs = 300;

/** Runs a command for a client. `child` is added to `children` until it has ended.
 *  @param onLate is called for whatever the client sends after the command has ended: with a kubelet it would cost the client
 *    what is still on its way to it (kubernetes#124571). */
export function runExec(
  { client, socket, onLate }: { readonly client: WebSocket; readonly socket: Socket; readonly onLate: () => void },
  command: { readonly argv: readonly string[]; readonly env: NodeJS.ProcessEnv },
  children: Set<ChildProcess>,
  fault: ExecFault | undefined,
): void {
  if (fault?.kind === "messages") {
    for (const message of fault.messages) client.send(message);
    client.close(1000);
    return;
  }
  const [file = "false", ...args] = command.argv;
  const child = spawn(file, args, { env: command.env, detached: true, stdio: "pipe" });
  children.add(child);
  child.stdin.on("error", () => {});
  const kind = fault?.kind;
  let startError: Error | undefined;
  let sent = 0;
  let isSilent = false;
  let held: Buffer | undefined;
  let hasEnded = false;
  const deliver = (channel: number, data: Uint8Array | string = "") => {
    const message = Buffer.concat([Buffer.from([channel]), typeof data === "string" ? Buffer.from(data) : data]);
    if (!isSilent && client.readyState === client.OPEN) client.send(message);
  };

  /** @returns true when the frame was dealt with. */
  const strike = (frame: Buffer): boolean => {
    if (fault === undefined || !("afterBytes" in fault) || sent < fault.afterBytes) return false;
    const now = fault;
    fault = undefined;
    switch (now.kind) {
      case "reset":
        socket.destroy();
        break;
      case "fin":
        socket.end(); // no close frame
        isSilent = true;
        break;
      case "close":
        if (now.code === 1006) client.terminate();
        else client.close(now.code ?? 1000);
        isSilent = true;
        break;
      case "silence":
        isSilent = true;
        socket.pause(); // nor are pings answered
        break;
      case "early-success":
        deliver(3, statusOf(0));
        client.close(1000);
        isSilent = true;
        break;
      case "flip":
        frame[frame.byteLength - 1] = (frame[frame.byteLength - 1] ?? 0) ^ 1;
        deliver(1, frame);
        break;
      case "duplicate":
        deliver(1, frame);
        deliver(1, frame);
        break;
      case "evict":
        endGroup(child);
        break;
      case "call":
        now.action?.();
        return false;
      case "swap":
        held = frame; // sent after the next one
    }
    return true;
  };
  const pump = (channel: number, stream: NodeJS.ReadableStream) => {
    stream.on("data", (chunk: Buffer) => {
      for (let start = 0; start < chunk.byteLength; start += frameBytes) {
        const frame = chunk.subarray(start, start + frameBytes);
        if (channel === 1 && strike(frame)) continue;
        deliver(channel, frame);
        if (channel !== 1) continue;
        sent += frame.byteLength;
        if (held !== undefined) deliver(1, held);
        held = undefined;
      }
      if (client.bufferedAmount <= 1 << 20) return;
      stream.pause();
      const timer = setInterval(() => {
        if (client.bufferedAmount > 1 << 18 && client.readyState === client.OPEN) return;
        clearInterval(timer);
        stream.resume();
      }, 5);
    });
  };

  if (kind === "text") client.send("hello");
  if (kind === "channel-7") deliver(7, "\x01\x02");
  if (kind === "close-channel") deliver(255, "\x01");
  if (kind === "empty-frames") for (const channel of [1, 2, 1]) deliver(channel);
  if (kind === "huge-frame") socket.write(Buffer.from([0x82, 127, 0, 0, 0, 0, 12, 128, 0, 0, 1])); // 200 MiB to come
  if (kind === "endless-status") for (let n = 0; n < 64; n++) deliver(3, Buffer.alloc(8192, "{"));
  const frames: Buffer[] = [];
  if (kind === "lose-last-frame" || kind === "status-first") {
    child.stdout.on("data", (chunk: Buffer) => frames.push(chunk));
  } else pump(1, child.stdout);
  pump(2, child.stderr);

  const heard = () => {
    if (hasEnded) onLate();
  };
  client.on("ping", heard);
  client.on("message", (message: Buffer) => {
    heard();
    if (message[0] === 0 && !child.stdin.write(message.subarray(1))) {
      socket.pause();
      child.stdin.once("drain", () => socket.resume());
    } else if (message[0] === 255) child.stdin.end();
  });
  client.on("close", () => child.stdin.end());
  client.on("error", () => {});
  child.on("error", (error) => {
    startError = error; // as a runtime tells it: the image has no such file
  });
  child.on("close", (code) => {
    children.delete(child);
    hasEnded = true;
    if (kind === "lose-last-frame") for (const chunk of frames.slice(0, -1)) deliver(1, chunk);
    if (held !== undefined) deliver(1, held);
    if (isSilent) return;
    if (kind === "status-first") {
      deliver(3, statusOf(code));
      setTimeout(() => {
        for (const chunk of frames) deliver(1, chunk);
        client.close(1000);
      }, statusFirstMs);
      return;
    }
    for (const piece of piecesOf(startError === undefined ? statusOf(code) : notStarted(startError), kind))
      deliver(3, piece);
    client.close(1000);
  });
}

function piecesOf(status: string, kind: ExecFault["kind"] | undefined): readonly string[] {
  if (kind === "no-status") return [];
  if (kind === "bad-status") return ["not json"];
  if (kind === "unknown-reason")
    return [JSON.stringify({ metadata: {}, status: "Failure", message: "the node has gone", reason: "NodeGone" })];
  if (kind === "split-status") return [...status];
  return [status];
}

/** The metav1.Status of a process's end. */
function statusOf(exitCode: number | null): string {
  if (exitCode === 0) return JSON.stringify({ metadata: {}, status: "Success" });
  return JSON.stringify({
    metadata: {},
    status: "Failure",
    message: `command terminated with exit code ${exitCode ?? 137}`,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(exitCode ?? 137) }] },
  });
}

/** As containerd's runc says it. */
function notStarted(error: Error): string {
  const message = `OCI runtime exec failed: exec failed: unable to start container process: ${error.message}`;
  return JSON.stringify({ metadata: {}, status: "Failure", message, reason: "InternalError" });
}

/** Kills a command with all its processes. */
export function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
