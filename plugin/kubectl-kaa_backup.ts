/** The program that kubectl runs. Owns the process: argv, streams and signals in, exit code out; the only process.exit. */
import { basename } from "node:path";
import { asError, outcomes, UserError } from "../src/base/errors.ts";
import { run } from "../src/cli/main.ts";

const stopping = new AbortController();
const leaving = new AbortController();
const reasons = {
  SIGINT: new UserError("interrupted", "stopped by Ctrl-C"),
  SIGTERM: new UserError("terminated", "stopped by SIGTERM"),
  SIGHUP: new UserError("hung-up", "stopped by SIGHUP"),
} as const;
for (const [signal, reason] of Object.entries(reasons)) {
  process.on(signal, () => {
    if (stopping.signal.aborted) {
      leaving.abort(reason);
      process.exit(reason.exitCode);
    }
    stopping.abort(reason);
  });
}
// A defect that nobody catches stops the run as a signal does, so that no upload and no dump stays behind.
const longestCleanUpMs = 60_000;
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (defect: unknown) => {
    if (stopping.signal.aborted) return;
    stopping.abort(asError(defect));
    setTimeout(() => process.exit(outcomes.internal.code), longestCleanUpMs).unref();
  });
}
// Credentials come in the environment, and Node would put all of that into a report.
if (process.report !== undefined) process.report.excludeEnv = true;
// A reader that has gone (… | head) is no reason to fail a backup.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

// Buffers of megabytes pass through here by the thousand. bun's collector counts only the small objects that own them and
// runs late (350 MiB where 160 do, measured with 1.4.5), so it is asked to when memory has grown; Node counts them.
const collector = (globalThis as { Bun?: { gc(force: boolean): void } }).Bun;
const memoryWorthCollecting = 120 * 1024 * 1024;
const growthWorthCollecting = 16 * 1024 * 1024;
if (collector !== undefined) {
  let lowestBytes = Number.POSITIVE_INFINITY;
  setInterval(() => {
    const bytes = residentBytes();
    lowestBytes = Math.min(lowestBytes, bytes);
    if (bytes < memoryWorthCollecting || bytes < lowestBytes + growthWorthCollecting) return;
    collector.gc(true);
    lowestBytes = residentBytes();
  }, 100).unref();
}

function residentBytes(): number {
  try {
    return process.memoryUsage.rss();
  } catch {
    return 0; // it is read from a file, and there may be no descriptor left to open it
  }
}

// The image has the program as "backup", too, the name of the tool that it replaces.
const programName = basename(process.argv0) === "backup" ? "backup" : "kubectl kaa-backup";
const isCi = Boolean(process.env["CI"]);
const exitCode = await run(
  process.argv.slice(2),
  {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    isInteractive: process.stdin.isTTY === true && process.stderr.isTTY === true,
    isAnimated: process.stderr.isTTY === true && !isCi && process.env["TERM"] !== "dumb",
    signal: stopping.signal,
    leaving: leaving.signal,
  },
  programName,
);
// Pipes take what they have room for: leaving at once would cut what a slow reader has not taken.
await Promise.all([process.stdout, process.stderr].map(flushed));
process.exit(exitCode);

/** When everything is written, or cannot be. In bun only `end` waits for that. In Node an empty write does, and `end` would
 *  shut a socket down for all who have it: for the shell script, too, that systemd or a program in Node has started. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (collector === undefined) stream.write("", () => resolve());
    else stream.end(() => resolve());
  });
}
