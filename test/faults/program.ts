/** Runs the program as its users do, in a process of its own that can be signalled, starved and killed. The built one when
 *  there is one, the sources otherwise; `KAA_PROGRAM=sources` and `KAA_PROGRAM=built` insist. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const built = `${root}/dist/kubectl-kaa_backup`;
const wanted = process.env["KAA_PROGRAM"] ?? (existsSync(built) ? "built" : "sources");
export const isBuilt = wanted === "built";
/** Whether whatever can be run by the built program is to be. */
export const wantsBuilt = process.env["KAA_PROGRAM"] === "built";

/** File and first arguments: of the sources, run by node; of whatever was chosen. */
export const sources: readonly string[] = [process.execPath, `${root}/plugin/kubectl-kaa_backup.ts`];
export const program: readonly string[] = isBuilt ? [built] : sources;

export interface Ended {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** Longer than the program takes to clean up, so that a run that hangs fails its test and nothing stays. */
const longestMs = 90_000;

/** The most memory that a process has had, in bytes, looked at until it ends. */
export async function peakBytesOf({ child, ended }: Running): Promise<number> {
  let peakBytes = 0;
  const look = () => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      peakBytes = Math.max(peakBytes, Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024);
    } catch {
      // it has ended
    }
  };
  const looking = setInterval(look, 20);
  await ended;
  clearInterval(looking);
  return peakBytes;
}

/** @param options.through a command in front of it, such as `["bash", "-c", 'ulimit -n 20; exec "$@"', "-"]`. */
export function start(
  args: readonly string[],
  options: {
    readonly env: Readonly<Record<string, string>>;
    readonly through?: readonly string[];
    readonly program?: readonly string[];
    readonly stdin?: string;
  },
): Running {
  const [file = "", ...rest] = [...(options.through ?? []), ...(options.program ?? program), ...args];
  const startedAt = performance.now();
  const child = spawn(file, rest, {
    env: { ...options.env },
    stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    timeout: longestMs,
    killSignal: "SIGKILL",
  });
  child.stdin?.on("error", () => {}); // the program may not read it all
  child.stdin?.end(options.stdin);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    stdout += chunk.toString("utf8");
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr += chunk.toString("utf8");
  });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) =>
      resolve({ code, signal, stdout, stderr, durationMs: performance.now() - startedAt }),
    );
  });
  return { child, ended };
}
