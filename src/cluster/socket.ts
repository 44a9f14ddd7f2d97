/** One websocket to the API server that cannot end unnoticed: refused upgrades become errors with the server's words, a
 *  silent connection is found by pings, and reading stops while the consumer is behind. */
import type { IncomingMessage } from "node:http";
import WebSocket from "ws";
import { UserError } from "../base/errors.ts";
import { type Connection, errorForStatus, readBody } from "./api.ts";

/** Times after which a connection counts as dead; the defaults are those of the design. */
export interface Liveness {
  /** Between two pings. */
  readonly pingMs: number;
  /** Silence after which the connection is given up, not counting time in which we ourselves did not read. */
  readonly silenceMs: number;
  /** For the upgrade to be answered. */
  readonly handshakeMs: number;
  /** For the server to close its side after the status has come. */
  readonly closeMs: number;
}

export const defaultLiveness: Liveness = { pingMs: 10_000, silenceMs: 45_000, handshakeMs: 30_000, closeMs: 5_000 };

/** Largest message we take; kubelet sends at most 32 KiB. */
const maxMessageBytes = 4 * 1024 * 1024;

export interface SocketEvents {
  message(data: Buffer): void;
  /** Called exactly once, whatever happened. `error` is undefined after a close handshake or a plain end. */
  closed(reason: { readonly error?: Error; readonly code: number }): void;
}

export class Socket {
  readonly protocol: string;
  readonly #socket: WebSocket;
  readonly #liveness: Liveness;
  readonly #probe: () => Promise<boolean>;
  readonly #timer: NodeJS.Timeout;
  #heardAt = Date.now();
  #sending = 0;
  #paused = false;
  #probing = false;
  #failure: Error | undefined;

  private constructor(socket: WebSocket, events: SocketEvents, liveness: Liveness, probe: () => Promise<boolean>) {
    this.protocol = socket.protocol;
    this.#socket = socket;
    this.#liveness = liveness;
    this.#probe = probe;
    this.#timer = setInterval(() => this.#tick(), liveness.pingMs);
    socket.on("pong", () => this.#heard());
    socket.on("ping", () => this.#heard());
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      this.#heard();
      if (isBinary) events.message(data);
      else this.fail(new UserError("stream-lost", "the server broke the protocol: it sent a text message"));
    });
    socket.on("error", (error) => {
      this.#failure ??= error;
    });
    socket.on("close", (code) => {
      clearInterval(this.#timer);
      events.closed(this.#failure === undefined ? { code } : { code, error: this.#failure });
    });
  }

  /** Opens a websocket that speaks one of `protocols`. The caller must `destroy()` it.
   *  @param events may be called before this resolves.
   *  @param probe asked when the other side is silent while our own data waits to be sent: is it alive all the same? A
   *    busy database that reads nothing for an hour also keeps the API server from answering pings.
   *  @throws UserError `cluster`, `forbidden`, `credentials`, `not-found` when the upgrade is refused. */
  static async open(
    connection: Connection,
    request: { readonly path: string; readonly protocols: readonly string[]; readonly doing: string },
    events: SocketEvents,
    options: { readonly liveness: Liveness; readonly signal: AbortSignal; readonly probe: () => Promise<boolean> },
  ): Promise<Socket> {
    options.signal.throwIfAborted();
    const { url, options: tls } = await connection.requestOptions(request.path);
    options.signal.throwIfAborted();
    return await new Promise<Socket>((resolve, reject) => {
      const socket = new WebSocket(url, [...request.protocols], {
        ...tls,
        handshakeTimeout: options.liveness.handshakeMs,
        maxPayload: maxMessageBytes,
        perMessageDeflate: false,
      });
      const onAbort = () => fail(options.signal.reason);
      const onError = (error: Error) => fail(cannotOpen(request.doing, error));
      const fail = (error: unknown) => {
        options.signal.removeEventListener("abort", onAbort);
        socket.on("error", () => {}); // terminate() on a connecting socket reports one more error
        socket.terminate();
        reject(error);
      };
      options.signal.addEventListener("abort", onAbort, { once: true });
      socket.on("unexpected-response", (_request, response: IncomingMessage) => {
        readBody(response, 64 * 1024)
          .then((body) => fail(errorForStatus(response, body, request.doing)))
          .catch(onError);
      });
      socket.once("error", onError);
      socket.once("open", () => {
        options.signal.removeEventListener("abort", onAbort);
        if (!request.protocols.includes(socket.protocol)) {
          const offered = `"${request.protocols.join('", "')}"`;
          fail(new UserError("cluster", `${request.doing}: the server speaks none of the protocols ${offered}`));
          return;
        }
        socket.removeListener("error", onError);
        resolve(new Socket(socket, events, options.liveness, options.probe));
      });
    });
  }

  /** Sends one message; resolves when it has left this process, so that awaiting it is back-pressure.
   *  @throws when the connection is gone. */
  async send(message: Uint8Array): Promise<void> {
    this.#sending += 1;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#socket.send(message, (error) => (error ? reject(error) : resolve()));
      });
      this.#heard();
    } finally {
      this.#sending -= 1;
    }
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#heard();
    this.#socket.resume();
  }

  /** Ends the connection at once; `closed` is then called with this error. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#socket.terminate();
  }

  /** Ends the connection at once. */
  destroy(): void {
    clearInterval(this.#timer);
    this.#socket.terminate();
  }

  #heard(): void {
    this.#heardAt = Date.now();
  }

  #tick(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#paused) {
      this.#heard(); // pongs wait unread behind data: silence is ours
    } else if (Date.now() - this.#heardAt > this.#liveness.silenceMs) {
      void this.#onSilence(); // never rejects
    }
    this.#socket.ping();
  }

  async #onSilence(): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    const alive = this.#sending > 0 && (await this.#probe().catch(() => false));
    this.#probing = false;
    if (alive) this.#heard();
    else this.fail(new UserError("stream-lost", `no answer for ${Math.round(this.#liveness.silenceMs / 1000)} s`));
  }
}

function cannotOpen(doing: string, error: Error): UserError {
  return new UserError("cluster", `${doing}: ${error.message}`, { cause: error });
}
