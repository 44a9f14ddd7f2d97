/** Lets a terminal show a run in which nothing is real: four storages that dump for some seconds, one that cannot. Ends when
 *  SIGUSR2 comes. Flags: those of the program's output. */
import { setTimeout as sleep } from "node:timers/promises";
import yargs from "yargs";
import { outputFlags } from "../../src/cli/flags.ts";
import { openReporter } from "../../src/cli/open-reporter.ts";

let isOver = false;
process.on("SIGUSR2", () => {
  isOver = true;
});
const mega = 1_000_000;
const flags = await yargs(process.argv.slice(2)).options(outputFlags).parseAsync();
const reporter = await openReporter(
  {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    isInteractive: true,
    isAnimated: process.stderr.isTTY === true && process.env["TERM"] !== "dumb",
    signal: new AbortController().signal,
  },
  flags,
);
const names = ["minio/kaa-minio", "postgresql/kaa-postgresql", "vault/\u001b[31mevil\n\u202e", "mariadb/マリアデータ"];
reporter.planned(names.map((task) => ({ task, expectedBytes: 1000 * mega })));
reporter.failed("minio/kaa-minio", new Error("pod is missing"));
reporter.detail("a detail");
reporter.note("a note");
for (const name of names.slice(1, 3)) reporter.started(name, { doing: "dumping" });
for (let bytes = 0; !isOver; bytes += mega) {
  for (const name of names.slice(1, 3)) reporter.progressBytes(name, bytes);
  await sleep(20);
}
reporter.finished("postgresql/kaa-postgresql", "3 databases, 12 tables");
reporter.warning("a warning");
reporter.stop();
process.stdout.write("created\n");
process.exit();
