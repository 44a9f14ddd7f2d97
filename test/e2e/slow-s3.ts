/** A door to the bed's S3 server that lets through so many bytes a second, over all connections, as it is told. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { Transform } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { bedEnvironment } from "./bed.ts";

const tickMs = 50;

export class SlowS3 {
  /** Infinity: as fast as it goes. */
  bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Bytes that have been let through, or wait to be, and whose time is not over. */
  #owedBytes = 0;
  #paidAt = performance.now();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(): Promise<SlowS3> {
    const behind = new URL(bedEnvironment()["AWS_ENDPOINT_URL"] ?? "");
    const server = createServer();
    const door = new SlowS3(server);
    server.on("connection", (inside) => {
      const outside = connect(Number(behind.port), behind.hostname);
      inside.pipe(door.#brake()).pipe(outside);
      outside.pipe(door.#brake()).pipe(inside);
      for (const socket of [inside, outside]) {
        door.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          inside.destroy();
          outside.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return door;
  }

  /** For AWS_ENDPOINT_URL of the program. Pods cannot reach it. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #isPaid(): boolean {
    const now = performance.now();
    const seconds = (now - this.#paidAt) / 1000;
    this.#paidAt = now;
    const isOpen = this.bytesPerSecond === Number.POSITIVE_INFINITY;
    this.#owedBytes = isOpen ? 0 : Math.max(0, this.#owedBytes - this.bytesPerSecond * seconds);
    return this.#owedBytes <= (this.bytesPerSecond * tickMs) / 1000;
  }

  #brake(): Transform {
    const wait = async (bytes: number) => {
      this.#owedBytes += bytes;
      while (!this.#isPaid()) await sleep(tickMs);
    };
    return new Transform({
      transform(chunk: Buffer, _encoding, done) {
        wait(chunk.byteLength).then(() => done(null, chunk), done);
      },
    });
  }
}
