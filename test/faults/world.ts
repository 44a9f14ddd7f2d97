/** What the program meets when it runs in a fault test: an API server with one MariaDB, an S3 server and a directory, all on
 *  this machine and all ours to break. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeApiServer } from "../fakes/api-server.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { noise } from "../snapshot/make.ts";
import { leaseOf } from "./lease.ts";

export type Place = "s3" | "directory";
export const bucket = "storage-backup--kaa";

export interface World {
  readonly server: FakeApiServer;
  readonly database: MariadbPod;
  readonly s3: FakeS3;
  readonly directory: string;
  /** Flags that say where snapshots are kept. */
  flags(place: Place): readonly string[];
  /** The environment of the program; nothing of ours leaks in. */
  readonly env: Readonly<Record<string, string>>;
  /** A number for each request to either server and each frame from the pod; `strike` is called when it comes to `nth`. */
  countTo(nth: number, strike: () => void): void;
  /** Events since `countTo`. */
  readonly events: number;
  stop(): Promise<void>;
}

/** The lock of the world's namespace, as the API server keeps it. */
export const lock = {
  holder: ({ server }: Pick<World, "server">): string => leaseOf(server).holder,
  expire: ({ server }: Pick<World, "server">): void => leaseOf(server).expire(),
  giveTo: ({ server }: Pick<World, "server">, holder: string): void => leaseOf(server).giveTo(holder),
} as const;

/** All files that lie in a store, by name; in the directory also those that are not finished. */
export function filesIn(world: World, place: Place): ReadonlyMap<string, Buffer> {
  if (place === "directory") {
    const names = readdirSync(world.directory);
    return new Map(names.map((name) => [name, readFileSync(join(world.directory, name))]));
  }
  const { objects } = world.s3.bucket(bucket);
  return new Map([...objects].flatMap(([key, versions]) => versions.map(({ body }) => [key, body] as const)));
}

/** @param options.content of the database. The caller must `stop()` it. */
export async function startWorld(options: { readonly content?: string } = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "kaa-world-"));
  const directory = join(folder, "backup");
  mkdirSync(directory, { mode: 0o700 });
  // Of several frames, also when it is compressed.
  const database = new MariadbPod(options.content ?? noise(200_000).toString("base64"));
  const server = new FakeApiServer([database.pod]);
  await server.start();
  const s3 = await new FakeS3({ minPartBytes: 1 }).start();
  s3.bucket(bucket);
  let events = 0;
  let due: { readonly nth: number; readonly strike: () => void } | undefined;
  const count = () => {
    events += 1;
    if (events === due?.nth) due.strike();
  };
  server.onEvent = count;
  s3.onRequest = count;
  return {
    server,
    database,
    s3,
    directory,
    flags: (place) => (place === "s3" ? ["--bucket", bucket] : ["--local", "--dir", directory]),
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      KUBECONFIG: server.kubeconfig,
      AWS_ENDPOINT_URL: s3.url,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
      AWS_SECRET_ACCESS_KEY: "a-secret-that-must-not-leak",
    },
    countTo(nth, strike) {
      events = 0;
      due = { nth, strike };
    },
    get events() {
      return events;
    },
    async stop() {
      await server.stop();
      await s3[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}
