/** The use-cases with tenths of seconds for deadlines, which the command line does not let anybody set; their ends look like
 *  those of the command line. */
import { backup, type RetryPlan } from "../../src/backup.ts";
import { outcomes, UserError } from "../../src/base/errors.ts";
import { errorText } from "../../src/cli/error-text.ts";
import type { Cluster } from "../../src/cluster/cluster.ts";
import type { Liveness } from "../../src/cluster/socket.ts";
import type { DriverName } from "../../src/drivers/registry.ts";
import { restore } from "../../src/restore.ts";
import type { Scope } from "../../src/storages.ts";
import type { S3Options } from "../../src/stores/s3.ts";
import type { Store } from "../../src/stores/store.ts";
import { verify } from "../../src/verify.ts";

export const namespace = "kaa";
export const bucket = `storage-backup--${namespace}`;

/** How a run ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly tookMs: number;
}

/** Seconds become tenths: for faults that only time shows. */
export const quickLiveness: Liveness = {
  pingMs: 100,
  silenceMs: 900,
  handshakeMs: 10_000,
  closeMs: 500,
  heartbeatMs: 200,
};
export const noRetry: RetryPlan = { attempts: 1, pauseMs: 0, readyMs: 0 };
export const quickRetry: RetryPlan = { attempts: 3, pauseMs: 50, readyMs: 2000 };

export interface QuickOptions {
  readonly liveness?: Liveness;
  readonly credentialsMs?: number;
  readonly to?: "s3" | "directory";
  readonly store?: Store;
  readonly s3?: Partial<S3Options>;
  readonly retry?: RetryPlan;
  readonly storages?: readonly DriverName[];
  readonly signal?: AbortSignal;
}

interface QuickParts {
  readonly cluster: Cluster;
  readonly store: Store;
  readonly warnings: string[];
  readonly options: QuickOptions;
  readonly environment: Readonly<Record<string, string>>;
}

export class Quick {
  readonly #parts: QuickParts;

  constructor(parts: QuickParts) {
    this.#parts = parts;
  }

  create(): Promise<Ended> {
    const { store, options } = this.#parts;
    const plan = {
      storages: options.storages ?? (["mariadb"] as const),
      named: true,
      strict: true,
      compressionLevel: 1,
      tool: { name: "test", version: "0" },
      retry: options.retry ?? quickRetry,
    };
    return this.#ended(async (scope) => (await backup(plan, scope, store)).fileName);
  }

  restore(date: string): Promise<Ended> {
    const { store, options } = this.#parts;
    const storages = options.storages ?? (["mariadb"] as const);
    const request = { date, sourceNamespace: namespace, storages, named: true, dryRun: false, confirm: async () => {} };
    return this.#ended(async (scope) => {
      const { failures } = await restore(request, scope, store);
      const [first] = failures;
      if (first !== undefined) throw first.error;
      return "restored";
    });
  }

  verify(date: string): Promise<Ended> {
    return this.#ended(async (scope) => (await verify(this.#parts.store, date, scope)).fileName);
  }

  async #ended(work: (scope: Scope) => Promise<string>): Promise<Ended> {
    const { cluster, warnings, options, environment } = this.#parts;
    const say = (message: string) => void warnings.push(message);
    const nothing = () => {};
    const scope: Scope = {
      cluster,
      namespace,
      releasePrefix: "",
      environment,
      compression: "auto",
      location: { region: "us-east-1", bucket },
      reporter: {
        ...{ planned: nothing, started: nothing, detail: nothing, progressBytes: nothing },
        ...{ finished: nothing, failed: nothing, note: say, warning: say },
      },
      signal: options.signal ?? AbortSignal.timeout(60_000),
    };
    const startedAt = performance.now();
    let [code, stdout, text]: [number, string, string] = [outcomes.ok.code, "", ""];
    try {
      stdout = `${await work(scope)}\n`;
    } catch (error) {
      code = error instanceof UserError ? error.exitCode : outcomes.internal.code;
      text = errorText(error, "kubectl kaa-backup", "kubectl kaa-backup --help");
    }
    const stderr = [...warnings.map((each) => `warning ${each}\n`), text].join("");
    return { code, stdout, stderr, tookMs: performance.now() - startedAt };
  }
}
