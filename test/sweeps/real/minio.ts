/** A real S3 server: the MinIO that the bed is built with, in a process and a folder of its own, behind a proxy that counts. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const cache = process.env["KAA_BACKUP_BED_CACHE"] ?? join(homedir(), ".cache/kaa-backup-bed");

export const credentials = { accessKeyId: "kaa-sweep", secretAccessKey: "a-secret-that-must-not-leak" } as const;

export interface Minio {
  /** Of the proxy. */
  readonly url: string;
  /** Uploads that are open, as the server's disk has them: its API lists only those of one whole key. */
  openUploads(): readonly string[];
  /** Called with each piece of data, in either direction. */
  onData: () => void;
  stop(): Promise<void>;
}

/** The caller must `stop()` it. */
export async function startMinio(): Promise<Minio> {
  const folder = mkdtempSync(join(tmpdir(), "kaa-minio-"));
  const port = await freePort();
  const server = spawn(programFile(), ["server", "--quiet", "--address", `127.0.0.1:${port}`, join(folder, "data")], {
    env: {
      HOME: folder,
      MINIO_ROOT_USER: credentials.accessKeyId,
      MINIO_ROOT_PASSWORD: credentials.secretAccessKey,
      MINIO_UPDATE: "off",
      MINIO_BROWSER: "off",
    },
    stdio: "ignore",
  });
  const sockets = new Set<Socket>();
  const proxy = createServer((client) => {
    const target = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      sockets.add(from);
      from.on("data", () => minio.onData());
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const minio: Minio = {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, // it listens on TCP
    openUploads: () => openUploadsIn(join(folder, "data/.minio.sys/multipart")),
    onData: () => {},
    async stop() {
      for (const socket of sockets) socket.destroy();
      proxy.close();
      const exited = once(server, "exit");
      server.kill();
      await exited;
      rmSync(folder, { recursive: true });
    },
  };
  await untilReady(`http://127.0.0.1:${port}/minio/health/ready`);
  return minio;
}

function programFile(): string {
  const file = join(cache, "run/bin/minio");
  if (!existsSync(file)) throw new Error(`there is no "${file}": npm run bed -- up builds it`);
  return file;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo; // it listens on TCP
  probe.close();
  await once(probe, "close");
  return port;
}

async function untilReady(url: string): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; await sleep(100)) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return;
  }
  throw new Error("MinIO does not become ready");
}

/** `multipart/<hash of the key>/<upload id>/xl.meta` is an upload that neither completed nor was aborted. */
function openUploadsIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith("/xl.meta"));
}
