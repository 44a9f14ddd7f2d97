/** One TCP connection to a port of a pod over one websocket of its own, as a Duplex in this process: no local listener that
 *  somebody else could connect to, and a connection is never silently replaced by a new one. */
import { Duplex } from "node:stream";
import { asError, UserError } from "../base/errors.ts";
import { apiPath, type Connection } from "./api.ts";
import { forwardProtocol, frame, parseFrame } from "./channels.ts";
import type { Pod } from "./cluster.ts";
import { type Liveness, Socket, type SocketEvents } from "./socket.ts";

const dataChannel = 0;
const errorChannel = 1;
const writeSliceBytes = 64 * 1024;

export interface ForwardRequest {
  readonly pod: Pod;
  readonly port: number;
  readonly signal: AbortSignal;
  readonly liveness: Liveness;
  readonly probe: () => Promise<boolean>;
}

/** Connects. The caller must destroy the Duplex. Its end is the remote end's close; whether the data was whole only the
 *  protocol inside can say.
 *  @throws UserError `cluster`, `forbidden`, `not-found` when the upgrade is refused. That nothing listens on the port shows
 *    later, as the Duplex's error. */
export async function openForward(connection: Connection, request: ForwardRequest): Promise<Duplex> {
  const { pod, port } = request;
  const what = `port ${port} of pod "${pod.namespace}/${pod.name}"`;
  const path = `${apiPath("api", "v1", "namespaces", pod.namespace, "pods", pod.name, "portforward")}?ports=${port}`;
  const wanted = { path, protocols: [forwardProtocol], doing: `cannot reach ${what}` };
  const attach = (socket: Socket) => new Forward(socket, what, request);
  return await Socket.open(connection, wanted, attach, request);
}

class Forward extends Duplex {
  readonly events: SocketEvents;
  readonly #socket: Socket;
  readonly #what: string;
  readonly #port: number;
  readonly #greeted = new Set<number>();
  #complaint = "";

  constructor(socket: Socket, what: string, { port, signal }: Pick<ForwardRequest, "port" | "signal">) {
    super({ highWaterMark: 256 * 1024, allowHalfOpen: false });
    this.on("error", () => {}); // kept for whoever reads or writes next; between two uses nobody may be listening
    this.#socket = socket;
    this.#what = what;
    this.#port = port;
    const onAbort = () => this.destroy(asError(signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    this.events = {
      message: (message) => this.#onMessage(message),
      closed: ({ error }) => {
        signal.removeEventListener("abort", onAbort);
        this.#onClosed(error);
      },
    };
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#send(chunk).then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#socket.destroy();
    callback(error);
  }

  async #send(chunk: Buffer): Promise<void> {
    for (let start = 0; start < chunk.byteLength; start += writeSliceBytes) {
      await this.#socket.send(frame(dataChannel, chunk.subarray(start, start + writeSliceBytes)));
    }
  }

  #onMessage(message: Buffer): void {
    const { channel, data } = parseFrame(message);
    if (channel !== dataChannel && channel !== errorChannel) {
      this.destroy(this.#lost(`the server broke the protocol: unknown channel ${channel}`));
    } else if (!this.#greeted.has(channel)) {
      this.#greet(channel, data);
    } else if (channel === errorChannel) {
      this.#complaint = `${this.#complaint}${data.toString("utf8")}`.slice(0, 1000);
      if (/refused/.test(this.#complaint)) this.destroy(this.#refused());
      else this.destroy(this.#lost(this.#complaint));
    } else if (data.byteLength > 0 && !this.push(data)) {
      this.#socket.pause();
    }
  }

  /** The first message of each channel is the port, two bytes, little-endian. */
  #greet(channel: number, data: Buffer): void {
    if (data.byteLength !== 2 || data.readUInt16LE(0) !== this.#port) {
      this.destroy(this.#lost("the server broke the protocol: it did not name the port"));
      return;
    }
    this.#greeted.add(channel);
  }

  #onClosed(error: Error | undefined): void {
    if (error === undefined) this.push(null);
    else this.destroy(this.#lost(error.message, error));
  }

  #refused(): UserError {
    return new UserError("storage-not-ready", `${this.#what}: connection refused`, {
      cause: new Error(this.#complaint),
    });
  }

  #lost(reason: string, cause?: Error): UserError {
    return new UserError("stream-lost", `${this.#what}: ${reason}`, cause === undefined ? {} : { cause });
  }
}
