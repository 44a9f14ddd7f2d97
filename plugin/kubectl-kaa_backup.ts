/** The program that kubectl runs. Owns the process: argv, streams and signals in, exit code out; the only process.exit. */
import { basename } from "node:path";
import { UserError } from "../src/base/errors.ts";
import { run } from "../src/cli/main.ts";

const stopping = new AbortController();
const reasons = {
  SIGINT: new UserError("interrupted", "stopped by Ctrl-C", { effect: "nothing was published" }),
  SIGTERM: new UserError("terminated", "stopped by SIGTERM", { effect: "nothing was published" }),
  SIGHUP: new UserError("hung-up", "stopped by SIGHUP", { effect: "nothing was published" }),
} as const;
for (const [signal, reason] of Object.entries(reasons)) {
  process.on(signal, () => {
    if (stopping.signal.aborted) process.exit(reason.exitCode); // asked twice: leave without cleaning up
    process.stderr.write("stopping\n");
    stopping.abort(reason);
  });
}
// A reader that has gone (… | head) is no reason to fail a backup.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

// Buffers of megabytes pass through here by the thousand. bun's collector counts only the small objects that own them and
// runs late (350 MiB where 160 do, measured with 1.4.5), so it is asked to; Node counts them.
const collector = (globalThis as { Bun?: { gc(force: boolean): void } }).Bun;
const memoryWorthCollecting = 120 * 1024 * 1024;
setInterval(() => {
  if (process.memoryUsage.rss() > memoryWorthCollecting) collector?.gc(true);
}, 100).unref();

// The image has the program as "backup", too, the name of the tool that it replaces.
const programName = basename(process.argv0) === "backup" ? "backup" : "kubectl kaa-backup";
const isCi = Boolean(process.env["CI"]);
process.exit(
  await run(
    process.argv.slice(2),
    {
      stdin: process.stdin,
      stdout: process.stdout,
      stderr: process.stderr,
      env: process.env,
      isInteractive: process.stdin.isTTY === true && process.stderr.isTTY === true,
      isAnimated: process.stderr.isTTY === true && !isCi && process.env["TERM"] !== "dumb",
      signal: stopping.signal,
    },
    programName,
  ),
);
