/** A namespace with a MariaDB and a Vault behind a scripted API server, a scripted S3 and a directory: everything that the
 *  program meets, each part ready to misbehave. The program is the real one, from argv to exit code. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import type { Io } from "../../src/cli/io.ts";
import { run } from "../../src/cli/main.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { directoryStore } from "../../src/stores/local.ts";
import { type S3Options, s3Store } from "../../src/stores/s3.ts";
import type { Store } from "../../src/stores/store.ts";
import { FakeApiServer, type FakeCertificate, type FakePod } from "../fakes/api-server.ts";
import { certificateFor } from "../fakes/certificate.ts";
import { mariadbDump, standInMariadb } from "../fakes/mariadb.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import { type Engine, startEngine } from "../fakes/opendistro.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import type { FakeOptions } from "../fakes/s3-state.ts";
import { raftMembers, raftSnapshot, startVault, type Vault } from "../fakes/vault.ts";
import { noise } from "../snapshot/make.ts";
import { quick as quickTiming, virtualClock } from "../stores/places.ts";
import { CommandLines, canaries } from "./canaries.ts";
import { start, wantsBuilt } from "./program.ts";
import { bucket, type Ended, namespace, Quick, type QuickOptions, quickLiveness } from "./quick.ts";

export { bucket, type Ended, namespace };

/** What must not change by itself. Hashes; of versions too. */
export interface State {
  readonly objects: ReadonlyMap<string, string>;
  readonly files: ReadonlyMap<string, string>;
  /** What the database holds, and how often something was loaded into it or into the Vault. */
  readonly source: string;
  readonly loads: number;
}

export interface StageOptions {
  /** Whose words MariaDB's pod has: those of processes on this machine (the default), or of a function, which is quicker. */
  readonly pod?: "processes" | "function";
  readonly rows?: number;
  readonly s3?: FakeOptions;
  readonly certificate?: FakeCertificate;
  readonly vault?: Partial<Vault>;
  /** Bytes of state in Vault's snapshot. */
  readonly vaultBytes?: number;
  /** An Open Distro, which runs only when it is asked for. */
  readonly engine?: Partial<Engine>;
}

/** So many that gzip, which sends 256 KiB at a time, sends some before the dump has ended. */
const defaultRows = 6000;
const certificate = certificateFor("fake", "IP:127.0.0.1");
/** Linux takes no longer one: MAX_ARG_STRLEN. */
const longestArgument = 128 * 1024;
const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest("hex");

/** The S3 library looks for credentials in the process's own environment. */
const quietEnvironment = {
  AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
  AWS_SECRET_ACCESS_KEY: canaries.awsSecret,
  AWS_EC2_METADATA_DISABLED: "true",
  AWS_CONFIG_FILE: "/nonexistent",
  AWS_SHARED_CREDENTIALS_FILE: "/nonexistent",
} as const;
Object.assign(process.env, quietEnvironment);

export class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), "kaa-stage-"));
  readonly directory = join(this.folder, "backup");
  readonly mariadb = join(this.folder, "mariadb");
  readonly commandLines = new CommandLines();
  readonly api: FakeApiServer;
  readonly s3: FakeS3;
  readonly vault: Vault;
  readonly engine: Engine | undefined;
  /** MariaDB, when it is a function. */
  readonly database: MariadbPod | undefined;
  readonly #servers: readonly Server[];

  private constructor(
    parts: Pick<Stage, "api" | "s3" | "vault" | "engine" | "database"> & { readonly servers: readonly Server[] },
  ) {
    this.api = parts.api;
    this.s3 = parts.s3;
    this.vault = parts.vault;
    this.engine = parts.engine;
    this.database = parts.database;
    this.#servers = parts.servers;
  }

  /** Sets the stage for one test: `await using stage = await Stage.set()`. */
  static async set(options: StageOptions = {}): Promise<Stage> {
    const api = new FakeApiServer([]);
    const s3 = await new FakeS3({ minPartBytes: 1, versions: true, ...options.s3 }).start();
    const state = noise(options.vaultBytes ?? 200_000);
    const { vault, server, port } = await startVault({
      token: canaries.vaultToken,
      snapshot: raftSnapshot(raftMembers(state), 0),
      ...options.vault,
    });
    const search = options.engine && (await startEngine({ password: canaries.searchPassword, ...options.engine }));
    const servers = search === undefined ? [server] : [server, search.server];
    const dump = mariadbDump(options.rows ?? defaultRows, canaries.row);
    const database = options.pod === "function" ? new MariadbPod(dump) : undefined;
    const stage = new Stage({ api, s3, vault, engine: search?.engine, database, servers });
    const mariadb = database?.pod ?? processPod(standInMariadb(stage.mariadb, dump).bin);
    api.pods = [mariadb, vaultPod(port), ...(search === undefined ? [] : searchPods(search.port))];
    await api.start(options.certificate ?? certificate, canaries.bearer);
    return stage;
  }

  /** A certificate for the API server. `isForeign`: the kubeconfig trusts another. */
  static certificate(
    alternativeName: string,
    options: { readonly days?: number; readonly isForeign?: boolean } = {},
  ): FakeCertificate {
    const made = certificateFor("fake", alternativeName, options.days);
    return options.isForeign === true ? { ...made, trusted: certificate.cert } : made;
  }

  /** Runs a shell script on this machine and gives its output. */
  shell(script: string): string {
    return execFileSync("sh", ["-ec", script], { encoding: "utf8" });
  }

  /** The kubeconfig's user gets credentials from this script. */
  usePlugin(script: string): void {
    const config = JSON.parse(readFileSync(this.api.kubeconfig, "utf8"));
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: "sh",
      args: ["-c", script],
      interactiveMode: "Never",
    };
    config.users = [{ name: "fake", user: { exec } }];
    writeFileSync(this.api.kubeconfig, JSON.stringify(config));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.commandLines.stop();
    await this.api.stop();
    await this.s3[Symbol.asyncDispose]();
    for (const server of this.#servers) {
      server.closeAllConnections();
      server.close();
    }
    rmSync(this.folder, { recursive: true });
  }

  /** Runs a command line against this stage: in this process, or with KAA_PROGRAM=built by the built program. */
  async run(
    argv: readonly string[],
    given: Partial<Pick<Io, "signal" | "isInteractive">> & {
      readonly env?: Readonly<Record<string, string>>;
      readonly stdin?: string;
    } = {},
  ): Promise<Ended> {
    const texts = [...argv, ...Object.values(given.env ?? {})];
    const canBeGiven = texts.every((text) => !text.includes("\0") && text.length < longestArgument);
    const canBeSpawned = canBeGiven && given.isInteractive !== true;
    if (wantsBuilt && canBeSpawned) return await this.#runBuilt(argv, given);
    const printed = { stdout: "", stderr: "" };
    const remembering = (name: keyof typeof printed) =>
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          printed[name] += chunk.toString("utf8");
          done();
        },
      });
    const startedAt = performance.now();
    const code = await run(argv, {
      stdin: Readable.from(given.stdin === undefined ? [] : [Buffer.from(given.stdin)]),
      stdout: remembering("stdout"),
      stderr: remembering("stderr"),
      env: this.environment(given.env),
      isInteractive: given.isInteractive ?? false,
      isAnimated: false,
      signal: given.signal ?? new AbortController().signal,
    });
    return { code, ...printed, tookMs: performance.now() - startedAt };
  }

  async #runBuilt(argv: readonly string[], given: Parameters<Stage["run"]>[1] = {}): Promise<Ended> {
    const env = {
      ...quietEnvironment,
      PATH: process.env["PATH"] ?? "",
      HOME: this.folder,
      ...this.environment(given.env),
    };
    const { child, ended } = start(argv, { env, ...(given.stdin !== undefined && { stdin: given.stdin }) });
    given.signal?.addEventListener("abort", () => child.kill("SIGINT"));
    const { code, signal, stdout, stderr, durationMs } = await ended;
    if (code === null) throw new Error(`the program was ended by ${signal}: ${stderr}`);
    return { code, stdout, stderr, tookMs: durationMs };
  }

  environment(more: Readonly<Record<string, string>> = {}): Record<string, string> {
    return {
      AWS_REGION: "us-east-1",
      AWS_ENDPOINT_URL: this.s3.url,
      AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
      AWS_SECRET_ACCESS_KEY: canaries.awsSecret,
      VAULT_TOKEN: canaries.vaultToken,
      OPENDISTRO_PASSWORD: canaries.searchPassword,
      ...more,
    };
  }

  get cluster(): readonly string[] {
    return ["--kubeconfig", this.api.kubeconfig, "-n", namespace];
  }

  /** `create` of MariaDB into the bucket, unless flags say otherwise. */
  async create(...flags: readonly string[]): Promise<Ended> {
    const what = flags.includes("--storage") || flags.includes("--all") ? [] : ["--storage", "mariadb"];
    return await this.run(["create", ...this.cluster, ...what, ...flags]);
  }

  async restore(date: string, ...flags: readonly string[]): Promise<Ended> {
    return await this.run(["restore", ...this.cluster, "--date", date, "--yes", ...flags]);
  }

  /** A snapshot that a test begins with. */
  async snapshot(...flags: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.create("-o", "name", ...flags);
    if (code !== 0) throw new Error(`the snapshot to begin with failed: ${stderr}`);
    return stdout.trim();
  }

  /** No part misbehaves any more. */
  behave(): void {
    this.s3.clearFaults();
    this.api.execFault = () => undefined;
    this.api.forwardFault = () => undefined;
    this.api.requestFault = () => undefined;
  }

  async state(): Promise<State> {
    const objects = new Map<string, string>();
    for (const [key, versions] of this.s3.buckets.all.get(bucket)?.objects ?? []) {
      for (const { id, body, deleteMarker } of versions)
        objects.set(`${key} ${id}`, deleteMarker === true ? "deleted" : sha256(body));
    }
    const files = new Map<string, string>();
    for (const name of await readdir(this.directory).catch(() => []))
      files.set(name, sha256(await readFile(join(this.directory, name))));
    const data = join(this.mariadb, "data");
    const held = await Promise.all(
      ["accounts.sql", "databases.sql"].map((name) => readFile(join(data, name)).then(sha256, () => "absent")),
    );
    const log = await readFile(join(this.mariadb, "log"), "utf8").catch(() => "");
    const restores = this.engine?.calls.filter(({ call }) => call.endsWith("/_restore")).length ?? 0;
    const restored = this.database?.asked.filter((each) => each === "restore").length ?? 0;
    const loads = restored + log.split("\n").length - 1 + (this.vault.loaded === undefined ? 0 : 1) + restores;
    const { sealed, token } = this.vault;
    return {
      objects,
      files,
      source: JSON.stringify([held, this.database?.content, sealed, token, this.engine?.indices]),
      loads,
    };
  }

  /** The same use-cases with tenths of seconds for deadlines: what the command line does not let anybody set. */
  async quickly(options: QuickOptions = {}): Promise<Quick> {
    const cluster = await connectCluster({
      kubeconfig: this.api.kubeconfig,
      namespace,
      liveness: options.liveness ?? quickLiveness,
      ...(options.credentialsMs !== undefined && { credentialsMs: options.credentialsMs }),
    });
    const warnings: string[] = [];
    const say = (message: string) => warnings.push(message);
    const store =
      options.store ??
      (options.to === "directory"
        ? directoryStore(this.directory, { note: say })
        : this.store({ note: say, ...options.s3 }));
    return new Quick({ cluster, store, warnings, options, environment: this.environment() });
  }

  store(options: Partial<S3Options> = {}): Store {
    return s3Store({
      bucket,
      endpoint: this.s3.url,
      region: "us-east-1",
      partSizeBytes: 64 * 1024,
      timing: quickTiming,
      clock: virtualClock(),
      ...options,
    });
  }
}

const labelled = (name: string) => ({ "app.kubernetes.io/name": name, "app.kubernetes.io/instance": "kaa" });

function processPod(bin: string): FakePod {
  return {
    namespace,
    name: "kaa-mariadb-0",
    labels: labelled("mariadb"),
    containerEnv: ["MARIADB_ROOT_PASSWORD"],
    env: { MARIADB_ROOT_PASSWORD: canaries.rootPassword, PATH: `${bin}:${process.env["PATH"]}` },
  };
}

function vaultPod(port: number): FakePod {
  return { namespace, name: "kaa-vault-0", labels: labelled("vault"), env: {}, ports: { 8200: port } };
}

function searchPods(port: number): readonly FakePod[] {
  const labels = { app: "kaa-opendistro-es", "app.kubernetes.io/instance": "kaa" };
  return ["client", "data"].map((role) => ({
    namespace,
    name: `kaa-opendistro-es-${role}-0`,
    labels: { ...labels, role },
    env: {},
    answer: () => "",
    ports: { 9200: port },
  }));
}
