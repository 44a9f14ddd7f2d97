/** One websocket to the API server that cannot end unnoticed: refused upgrades become errors with the server's words, a
 *  silent connection is found by pings, and reading stops while the consumer is behind.
 *
 *  Nothing is sent unasked while something may be on its way to us. When a command has ended, kubelet and API server close
 *  behind its last bytes, which a slow reader has yet to get; whatever then arrives from us is answered by a reset, and those
 *  bytes are gone (kubernetes#124571; seen with 1.34: the last 4 to 28 MB of a dump, at every attempt). So a ping waits for
 *  silence, and while nobody reads, one message is taken now and then instead: that keeps idle timers quiet as well. */
import type { IncomingMessage } from "node:http";
import WebSocket from "ws";
import { asError, outcomeOr, UserError } from "../base/errors.ts";
import { type Connection, isApiStatus, isPassingRefusal, readRefusal, reasonOf, withRetries } from "./api.ts";

/** Times after which a connection counts as dead; the defaults are those of the design. */
export interface Liveness {
  /** Between two pings. */
  readonly pingMs: number;
  /** Silence after which the connection is given up, not counting time in which we ourselves did not read. */
  readonly silenceMs: number;
  /** For the upgrade to be answered. */
  readonly handshakeMs: number;
  /** For the server to close its side after the status has come, or the TCP connection after its word that it closes. */
  readonly closeMs: number;
  /** Between two bytes that say nothing on a command's stdin: pings do not count for the idle timeouts of the kubelet's
   *  streams (four hours or five minutes, by distribution). */
  readonly heartbeatMs: number;
}

export const defaultLiveness: Liveness = {
  pingMs: 10_000,
  silenceMs: 45_000,
  handshakeMs: 30_000,
  closeMs: 5_000,
  heartbeatMs: 30_000,
};

/** Largest message we take; kubelet sends at most 32 KiB. */
const maxMessageBytes = 4 * 1024 * 1024;

export interface SocketEvents {
  /** What it throws ends the connection, and is then the error of `closed`. */
  message(data: Buffer): void;
  /** Called exactly once, whatever happened. `error` is undefined after a close handshake or a plain end. */
  closed(reason: { readonly error?: Error; readonly code: number }): void;
}

export interface SocketRequest {
  readonly path: string;
  /** The server must pick one of them; `ws` refuses anything else. */
  readonly protocols: readonly string[];
  readonly doing: string;
}

export interface SocketOptions {
  readonly liveness: Liveness;
  /** Ends the opening. */
  readonly signal: AbortSignal;
  /** Asked when the other side is silent while our own data waits to be sent: is it alive all the same? A busy database that
   *  reads nothing for an hour also keeps the API server from answering pings. */
  readonly probe: () => Promise<boolean>;
}

export class Socket {
  readonly #socket: WebSocket;
  readonly #liveness: Liveness;
  readonly #probe: () => Promise<boolean>;
  readonly #timer: NodeJS.Timeout;
  /** When there last was a sign of life; not by the clock, which may be set meanwhile. */
  #heardAt = performance.now();
  /** When something last came, or reading began again. */
  #movedAt = performance.now();
  #sending = 0;
  #paused = false;
  /** Reads one message although paused; it has not come yet. */
  #sipping = false;
  #probing = false;
  #failure: Error | undefined;

  private constructor(socket: WebSocket, { liveness, probe }: SocketOptions) {
    this.#socket = socket;
    this.#liveness = liveness;
    this.#probe = probe;
    this.#timer = setInterval(() => this.#tick(), liveness.pingMs);
  }

  #listen(events: SocketEvents): void {
    const socket = this.#socket;
    socket.on("pong", () => this.#heard());
    socket.on("ping", () => this.#heard());
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      this.#heard();
      this.#movedAt = performance.now();
      if (this.#sipping) {
        this.#sipping = false;
        socket.pause();
      }
      try {
        if (!isBinary) throw new UserError("stream-lost", "the server broke the protocol: it sent a text message");
        events.message(data);
      } catch (error) {
        this.fail(asError(error));
      }
    });
    // After broken frames `ws` would wait half a minute for the other side to close.
    socket.on("error", (error) => this.fail(error));
    socket.on("close", (code) => {
      clearInterval(this.#timer);
      events.closed(this.#failure === undefined ? { code } : { code, error: this.#failure });
    });
  }

  /** Opens a websocket that speaks one of `protocols`. The caller must `destroy()` it.
   *  @param attach called once, as soon as it is open: the first messages may be there already, and the signal no longer ends
   *    anything here.
   *  @throws UserError `cluster`, `forbidden`, `credentials`, `storage-not-ready` (there is no such pod) when the upgrade is
   *    refused, after some more attempts if that may help. */
  static async open<Opened extends { readonly events: SocketEvents }>(
    connection: Connection,
    request: SocketRequest,
    attach: (socket: Socket) => Opened,
    options: SocketOptions,
  ): Promise<Opened> {
    const attempt = () => Socket.#openOnce(connection, request, attach, options);
    return await withRetries(options.signal, isPassingRefusal, attempt);
  }

  static async #openOnce<Opened extends { readonly events: SocketEvents }>(
    connection: Connection,
    request: SocketRequest,
    attach: (socket: Socket) => Opened,
    options: SocketOptions,
  ): Promise<Opened> {
    options.signal.throwIfAborted();
    const { url, options: tls } = await connection.requestOptions(request.path);
    options.signal.throwIfAborted();
    const container = url.searchParams.get("container");
    connection.onRequest?.(`GET ${url.pathname}${container === null ? "" : ` in container "${container}"`}`);
    const settings = {
      ...tls,
      handshakeTimeout: options.liveness.handshakeMs,
      closeTimeout: options.liveness.closeMs, // which @types/ws does not know yet
      maxPayload: maxMessageBytes,
      perMessageDeflate: false,
    };
    return await new Promise<Opened>((resolve, reject) => {
      const socket = new WebSocket(url, [...request.protocols], settings);
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
        readRefusal(response, request.doing)
          .then((refusal) => fail(refusalOf(refusal)))
          .catch(onError);
      });
      socket.once("error", onError);
      socket.once("open", () => {
        options.signal.removeEventListener("abort", onAbort);
        socket.removeListener("error", onError);
        const opened = new Socket(socket, options);
        const attached = attach(opened);
        opened.#listen(attached.events);
        resolve(attached);
      });
    });
  }

  /** Sends one message; resolves when it has left this process, so that awaiting it is back-pressure.
   *  @param isLife false for a message that a dead connection takes as well, because its buffers have room for it.
   *  @throws when the connection is gone. */
  async send(message: Uint8Array, isLife = true): Promise<void> {
    this.#sending += 1;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#socket.send(message, (error) => (error ? reject(error) : resolve()));
      });
      if (isLife) this.#heard();
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
    this.#sipping = false;
    this.#heard();
    this.#movedAt = performance.now();
    this.#socket.resume();
  }

  /** How long nothing has come although we read; 0 while we do not. */
  get quietMs(): number {
    return this.#paused ? 0 : performance.now() - this.#movedAt;
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
    this.#heardAt = performance.now();
  }

  #tick(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#paused) {
      this.#heard(); // pongs would wait unread behind data: silence is ours
      // Nothing has come since the last time, so nothing is on its way.
      if (this.#sipping) this.#socket.ping();
      this.#sipping = true;
      this.#socket.resume();
      return;
    }
    if (this.#isSilent()) void this.#onSilence(); // never rejects
    if (this.quietMs >= this.#liveness.pingMs / 2) this.#socket.ping();
  }

  #isSilent(): boolean {
    return performance.now() - this.#heardAt > this.#liveness.silenceMs;
  }

  async #onSilence(): Promise<void> {
    if (this.#probing) return;
    this.#probing = true;
    const alive = this.#sending > 0 && (await this.#probe().catch(() => false));
    this.#probing = false;
    if (alive) this.#heard();
    else if (this.#isSilent())
      this.fail(new UserError("stream-lost", `no answer for ${Math.round(this.#liveness.silenceMs / 1000)} s`));
  }
}

/** What an API server's refusal means for a pod: it is not there; or, of a conflict, no lock of ours. */
function refusalOf(error: UserError): UserError {
  const { message, hints, cause } = error;
  if (isApiStatus(error, 404)) return new UserError("storage-not-ready", message, { hints, cause });
  return isApiStatus(error, 409) ? new UserError("cluster", message, { hints, cause }) : error;
}

function cannotOpen(doing: string, error: Error): UserError {
  return new UserError(outcomeOr("cluster", error), `${doing}: ${reasonOf(error)}`, { cause: error });
}
