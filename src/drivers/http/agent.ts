/** Connections to a port of a pod, in the form in which `node:http` takes them. */
import { Agent } from "node:http";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { Cluster, Pod } from "../../cluster/cluster.ts";

/** A port of a pod. */
export interface PodPort {
  readonly cluster: Cluster;
  readonly pod: Pod;
  readonly port: number;
  /** Speak TLS inside the forwarded connection. The certificate is not checked: the way to the pod is already
   *  authenticated by Kubernetes, and servers in pods sign for themselves. */
  readonly tls: boolean;
}

/** As `podAgent` promises. */
export class PodAgent extends Agent {
  readonly #target: PodPort;
  readonly #signal: AbortSignal;

  constructor(target: PodPort, signal: AbortSignal, connections: number) {
    super({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections });
    this.#target = target;
    this.#signal = signal;
  }

  /** Returns at once: Node does not count connections that are still to come against `maxSockets`. */
  override createConnection(): Duplex {
    const { cluster, pod, port, tls } = this.#target;
    const connection = new PodConnection(() => cluster.connect(pod, port, this.#signal));
    return tls ? connectTls({ socket: connection, rejectUnauthorized: false }) : connection;
  }
}

/** A connection that is opened when it is first used, with the methods of net.Socket that `node:http` calls. */
class PodConnection extends Duplex {
  readonly #connect: () => Promise<Duplex>;
  #inner: Duplex | undefined;

  constructor(connect: () => Promise<Duplex>) {
    super({ allowHalfOpen: false }); // as net.Socket: an agent keeps no connection that the server has closed
    this.#connect = connect;
  }

  override _construct(done: (error?: Error) => void): void {
    this.#connect().then((inner) => {
      // What has failed before anybody listened tells nobody any more.
      if (inner.destroyed) {
        done(inner.errored ?? new Error("the connection was closed"));
        return;
      }
      this.#inner = inner;
      inner.on("data", (chunk) => {
        if (!this.push(chunk)) inner.pause();
      });
      inner.on("end", () => {
        this.push(null);
        this.read(0); // nobody reads while it waits for the next request, and without reading there is no "end"
      });
      inner.on("error", (error) => this.destroy(error));
      inner.on("close", () => {
        if (!inner.readableEnded) this.destroy(new Error("the connection was closed"));
      });
      done();
    }, done);
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const inner = this.#inner;
    if (inner === undefined || inner.writableEnded) {
      done(closedByServer());
      return;
    }
    // Why it is gone says more than that it is.
    inner.write(chunk, (error) => done(error && (inner.errored ?? error)));
  }

  override _final(done: () => void): void {
    this.#inner?.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#inner?.destroy();
    done(error);
  }

  // A forwarded connection watches itself; it has no timers or socket options to set.
  setKeepAlive = () => this;
  setNoDelay = () => this;
  setTimeout = () => this;
  ref = () => this;
  unref = () => this;
}

/** The server closed a connection that waited for its next request. By this code clients know that it may be sent again. */
function closedByServer(): Error {
  return Object.assign(new Error("the server has closed the connection"), { code: "ECONNRESET" });
}
