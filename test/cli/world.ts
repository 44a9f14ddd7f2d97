/** The world in which golden scripts run: a cluster with a namespace `kaa` in which one stand-in of MariaDB lives, an S3 service, an
 *  empty directory, and a home where nobody lives. All of it on loopback and in one temporary folder. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseSnapshotName, snapshotFileName } from "../../src/base/snapshot-name.ts";
import type { Dump } from "../../src/snapshot/writer.ts";
import { FakeApiServer } from "../fakes/api-server.ts";
import { mariadbDump, standInMariadb } from "../fakes/mariadb.ts";
import type { Operation } from "../fakes/s3-operations.ts";
import { change, FakeS3, refuse } from "../fakes/s3-server.ts";
import { header, make, send } from "../snapshot/make.ts";
import { type Session, session } from "./session.ts";

/** Of whoever runs the tests the program sees these, and nothing else. */
const harmless = ["PATH", "LANG", "TMPDIR"];
/** What libraries look for in the process: the same in every world, so that worlds can be side by side. */
export const processEnvironment = {
  TZ: "UTC",
  AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
  AWS_SECRET_ACCESS_KEY: "a-secret-that-must-not-leak",
  AWS_EC2_METADATA_DISABLED: "true",
};

const twoRows = mariadbDump(2);
const noRows = mariadbDump(0);

export class World implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "kaa-golden-"));
  readonly directory = join(this.folder, "backup");
  readonly cluster = new FakeApiServer([
    {
      namespace: "kaa",
      name: "kaa-mariadb-0",
      labels: { "app.kubernetes.io/name": "mariadb", "app.kubernetes.io/instance": "kaa" },
      env: {
        MARIADB_ROOT_PASSWORD: "x",
        PATH: `${standInMariadb(join(this.folder, "mariadb"), twoRows).bin}:${process.env["PATH"]}`,
      },
    },
  ]);
  readonly s3 = new FakeS3({ minPartBytes: 1 });
  readonly environment: Record<string, string> = {};
  /** Run the program as users do, in a process of its own. */
  inProcessOfItsOwn = false;
  /** There is a terminal that answers what is asked. */
  isInteractive = false;

  async start(): Promise<void> {
    await this.cluster.start();
    await this.s3.start();
    const home = join(this.folder, "home");
    mkdirSync(home);
    Object.assign(this.environment, {
      ...Object.fromEntries(harmless.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []))),
      ...processEnvironment,
      HOME: home,
      XDG_CONFIG_HOME: join(home, ".config"),
      KUBECONFIG: this.cluster.kubeconfig,
      AWS_ENDPOINT_URL: this.s3.url,
      AWS_REGION: "us-east-1",
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster.stop();
    await this.s3[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }

  /** What scripts call the changing parts of this world. */
  get names(): readonly (readonly [name: string, value: string])[] {
    return [
      ["$DIR", this.directory],
      ["$KUBECONFIG", this.cluster.kubeconfig],
      ["$S3", this.s3.url],
      ["$S3_HOST", new URL(this.s3.url).host],
      ["$SERVER", this.cluster.url],
      ["$HOME", join(this.folder, "home")],
      ["$TMP", this.folder],
    ];
  }

  /** Runs one command line. */
  async run(argv: readonly string[], given: { readonly name: string; readonly stdin: string }): Promise<Session> {
    if (!this.inProcessOfItsOwn)
      return await session(argv, this.environment, { ...given, isInteractive: this.isInteractive });
    const program = new URL("../../plugin/kubectl-kaa_backup.ts", import.meta.url).pathname;
    return await new Promise((resolve, reject) => {
      const child = execFile(
        process.execPath,
        [program, ...argv],
        { env: this.environment, cwd: this.folder },
        (error, stdout, stderr) => {
          if (error !== null && typeof error.code !== "number") reject(error);
          else resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
        },
      );
      child.stdin?.end(given.stdin);
    });
  }

  /** What the database does before it answers: "dump" or "sql". A line of sh. */
  misbehave(before: "dump" | "sql", line: string): void {
    writeFileSync(join(this.folder, "mariadb", `before-${before}`), `${line}\n`);
  }

  emptyDatabase(): void {
    writeFileSync(join(this.folder, "mariadb", "data", "databases.sql"), noRows);
  }

  /** Whether the database holds what it held at the beginning, which is what planted snapshots hold. */
  get databaseIsWhole(): boolean {
    return readFileSync(join(this.folder, "mariadb", "data", "databases.sql"), "utf8") === twoRows;
  }

  /** Puts a snapshot of the database, and nothing else, into a directory (`where` begins with a slash) or a bucket; `double`
   *  holds a second storage, too, which does not run here. */
  async plant(name: string, where: string, kind: "whole" | "double" | "partial" | "damaged" | "cut"): Promise<void> {
    const failed = { storage: "postgresql", instance: "kaa-postgresql", reason: "the pod is not ready" };
    const made = await make(kind === "double" ? [snapshot, another] : [snapshot], {
      header: { ...header, name },
      clock: () => new Date((parseSnapshotName(name)?.getTime() ?? 0) + 23_000),
      failures: kind === "partial" ? [failed] : [],
    });
    const bytes = Buffer.from(made.bytes);
    const segment = made.manifest.instances[0]?.streams.find((stream) => stream.name === "databases.sql")?.segments[0];
    const middle = (segment?.offset ?? 0) + Math.floor((segment?.length ?? 0) / 2);
    if (kind === "damaged") bytes[middle] = (bytes[middle] ?? 0) ^ 1;
    const content = kind === "cut" ? bytes.subarray(0, middle) : bytes;
    const fileName = snapshotFileName(name, { partial: kind === "partial" });
    if (where.startsWith("/")) {
      mkdirSync(where, { recursive: true });
      writeFileSync(join(where, fileName), content, { mode: 0o600 });
    } else this.s3.bucket(where).plant(fileName, content);
  }

  /** Names in a directory or a bucket, hidden ones too; undefined when there is no such place. */
  filesIn(where: string): readonly string[] | undefined {
    const bucket = this.s3.buckets.all.get(where);
    if (!where.startsWith("/")) return bucket && [...bucket.objects.keys()].filter((key) => bucket.current(key)).sort();
    try {
      return readdirSync(where).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Keys of uploads that nobody has ended. */
  get openUploads(): readonly string[] {
    return [...this.s3.buckets.all.values()].flatMap((bucket) => [...bucket.uploads.values()].map(({ key }) => key));
  }

  /** Who holds the namespace's lock, or undefined. */
  get lockHolder(): string | undefined {
    const spec = this.cluster.leases.get("kaa")?.body["spec"] as { holderIdentity?: string } | undefined;
    return spec?.holderIdentity || undefined;
  }

  /** Somebody else holds the namespace. */
  lockBy(holder: string): void {
    const now = new Date().toISOString().replace("Z", "000Z");
    this.cluster.leases.set("kaa", {
      resourceVersion: 1,
      body: {
        metadata: { resourceVersion: "1", annotations: { "kaa-backup/purpose": "restore" } },
        spec: { holderIdentity: holder, leaseDurationSeconds: 3600, acquireTime: now, renewTime: now },
      },
    });
  }

  /** The chart was installed, and its CronJob suspended. */
  pausedSchedule(cron: string): void {
    const metadata = { name: "kaa-pbm", namespace: "kaa", uid: "1", creationTimestamp: new Date().toISOString() };
    const cronJob = { metadata, spec: { schedule: cron, timeZone: "Etc/UTC", suspend: true } };
    this.cluster.objects.set("cronjobs/kaa-pbm", cronJob);
  }

  /** S3 answers everything, or every request of one kind, with this status from now on. */
  refuseS3(status: number, code: string, operation?: string): void {
    const which = operation === undefined ? {} : { operation: operation as Operation };
    this.s3.fault({ ...which, action: refuse(status, code), times: Number.POSITIVE_INFINITY });
  }

  /** S3's clock is ahead of ours by so much from now on. */
  s3Clock(minutes: number): void {
    const date = () => new Date(Date.now() + minutes * 60_000).toUTCString();
    const action = change((given) => ({ ...given, headers: { ...given.headers, date: date() } }));
    this.s3.fault({ action, times: Number.POSITIVE_INFINITY });
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text, { mode: 0o600 });
  }
}

const snapshot: Dump = {
  storage: "mariadb",
  instance: "kaa-mariadb",
  async run(output) {
    await send(output, { name: "accounts.sql", content: Buffer.from(noRows) });
    await send(output, { name: "databases.sql", content: Buffer.from(twoRows) });
    return {
      serverVersion: "10.11.1-MariaDB",
      counts: { databases: 1, tables: 1, rows: 2, accounts: 1 },
      warnings: [],
      facts: {
        databases: ["app"],
        accounts: [{ user: "root", host: "%" }],
        kept: ["root"],
        lostDefiners: [],
        engines: [],
        plugins: [],
        history: false,
        lowerCaseNames: 0,
      },
    };
  },
};

const another: Dump = {
  storage: "vault",
  instance: "kaa-vault",
  async run(output) {
    await send(output, { name: "raft.snap", content: Buffer.from("not read by anybody") });
    return { serverVersion: "1.15.2", counts: {}, warnings: [], facts: {} };
  },
};
