/** One exec session: the streams of a process in a container, over one websocket. Knows nothing of wrappers or witnesses;
 *  `remote.ts` decides whether what came is whole. */
import { asError, UserError } from "../base/errors.ts";
import { type Connection, pause } from "./api.ts";
import {
  channel,
  execProtocols,
  frame,
  parseFrame,
  parseStatus,
  type RemoteStatus,
  statusLimitBytes,
} from "./channels.ts";
import { ByteQueue } from "./queue.ts";
import { type Liveness, Socket, type SocketEvents } from "./socket.ts";

/** Output that may wait in this process before the socket is told to stop. */
const highWaterBytes = 1024 * 1024;
/** Slice of stdin in one message; kubectl uses 32 KiB, servers take more. */
const stdinFrameBytes = 64 * 1024;
const stderrTailBytes = 16 * 1024;

export interface ExecSession {
  /** Ends when the connection has ended, for whatever reason: look at `status` before believing it was whole.
   *  @throws UserError `stream-lost` when the protocol was broken or the other side fell silent. */
  readonly stdout: AsyncIterable<Buffer>;
  /** How the process ended; undefined when the server never said. Only meaningful after `stdout` has ended. */
  readonly status: RemoteStatus | undefined;
  /** The last 16 KiB of standard error. */
  readonly stderr: string;
  /** How long the other side has sent nothing although we read; 0 while we do not. */
  readonly quietMs: number;
  /** True once the process has ended or the connection is gone: nobody reads stdin any more. */
  readonly over: boolean;
  /** Sends to stdin; awaiting it is back-pressure. */
  write(data: Uint8Array): Promise<void>;
  /** Sends a byte that says nothing, against idle timeouts; it proves nothing of the connection either. */
  beat(): Promise<void>;
  /** Ends the session with this error; the process in the pod sees end-of-file on stdin. */
  fail(error: Error): void;
  /** Ends the session. May be called at any time, and more than once. */
  close(): void;
}

export interface ExecRequest {
  /** `/api/v1/namespaces/NS/pods/POD/exec?…` */
  readonly path: string;
  readonly doing: string;
  readonly signal: AbortSignal;
  readonly liveness: Liveness;
  readonly probe: () => Promise<boolean>;
}

/** Starts a process. The caller must `close()` the session. */
export async function openExec(connection: Connection, request: ExecRequest): Promise<ExecSession> {
  const { path, doing } = request;
  const attach = (socket: Socket) => attachExec(socket, request);
  const { session } = await Socket.open(connection, { path, protocols: execProtocols, doing }, attach, request);
  return session;
}

function attachExec(
  socket: Socket,
  { liveness, signal }: ExecRequest,
): { readonly session: ExecSession; readonly events: SocketEvents } {
  let status: RemoteStatus | undefined;
  let statusText = "";
  let over = false;
  let stderr = Buffer.alloc(0);
  const stdout = new ByteQueue({
    highWaterBytes,
    pause: () => socket.pause(),
    resume: () => socket.resume(),
  });

  const onStatus = (data: Buffer) => {
    statusText += data.toString("utf8");
    if (statusText.length > statusLimitBytes) {
      throw new UserError("stream-lost", "the server broke the protocol: an endless status");
    }
    if (status !== undefined) return;
    status = parseStatus(statusText);
    if (status === undefined) return;
    over = true;
    void destroyWhenQuiet().catch(() => socket.destroy()); // aborted: the session is being closed anyway
  };

  /** The server closes after the status. It overtakes output that we are slow to take, and which is waited for; a server that
   *  has nothing more to say and never closes is not. */
  const destroyWhenQuiet = async () => {
    const { closeMs } = liveness;
    for (let restMs = closeMs; restMs > 0; restMs = closeMs - socket.quietMs) await pause(restMs, signal);
    socket.destroy();
  };

  const onMessage = (message: Buffer) => {
    const { channel: number, data } = parseFrame(message);
    switch (number) {
      case channel.stdout:
        stdout.push(data);
        break;
      case channel.stderr:
        stderr = tail(stderr, data, stderrTailBytes);
        break;
      case channel.status:
        onStatus(data);
        break;
      case channel.close: // v5: one of the server's streams has ended; the status follows
        break;
      default:
        throw new UserError("stream-lost", `the server broke the protocol: unknown channel ${number}`);
    }
  };

  const onAbort = () => socket.fail(asError(signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  const events: SocketEvents = {
    message: onMessage,
    closed: ({ error }) => {
      over = true;
      signal.removeEventListener("abort", onAbort);
      // A reset after the status is how some servers say goodbye.
      stdout.end(status === undefined ? error : undefined);
    },
  };
  const session: ExecSession = {
    stdout,
    get status() {
      return status;
    },
    get stderr() {
      return stderr.toString("utf8");
    },
    get quietMs() {
      return socket.quietMs;
    },
    get over() {
      return over;
    },
    async write(data) {
      for (let start = 0; start < data.byteLength; start += stdinFrameBytes) {
        await socket.send(frame(channel.stdin, data.subarray(start, start + stdinFrameBytes)));
      }
    },
    beat: () => socket.send(frame(channel.stdin, Buffer.from("\n")), false),
    fail: (error) => socket.fail(error),
    close: () => socket.destroy(),
  };
  return { session, events };
}

/** The last `limitBytes` of `kept` followed by `more`. */
function tail(kept: Buffer, more: Buffer, limitBytes: number): Buffer<ArrayBuffer> {
  if (more.byteLength >= limitBytes) return Buffer.from(more.subarray(more.byteLength - limitBytes));
  const keep = Math.min(kept.byteLength, limitBytes - more.byteLength);
  return Buffer.concat([kept.subarray(kept.byteLength - keep), more]);
}
