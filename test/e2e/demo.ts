/** `npm run demo`: the main job, shown. Without arguments it brings up the test bed (root on Linux), fills all seven storages,
 *  backs them up, destroys them, restores them and compares. With `--context NAME [--namespace NS]` it uses a cluster you
 *  have, and destroys nothing there: it backs up into a temporary directory, lists, verifies and shows what a restore
 *  would do. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bedEnvironment, inPod, logIn, root, run } from "./bed.ts";
import { credentialsOf, everyContent, natives } from "./natives.ts";

const { values } = parseArgs({ options: { context: { type: "string" }, namespace: { type: "string", short: "n" } } });

function say(text: string): void {
  process.stdout.write(`\n== ${text}\n`);
}

/** Runs a command with this terminal; throws when it fails. */
function show(file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
  process.stdout.write(`$ ${[file.split("/").at(-1), ...args].join(" ")}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(file, [...args], { stdio: "inherit", env: { ...process.env, ...env } });
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`${file} ended with exit code ${code}`))));
  });
}

async function built(): Promise<string> {
  say("building the program");
  await show(process.execPath, [join(root, "plugin", "build.ts")]);
  return join(root, "dist", "kubectl-kaa_backup");
}

async function onOwnCluster(context: string): Promise<void> {
  const program = await built();
  const directory = mkdtempSync(join(tmpdir(), "kaa-demo-"));
  const where = ["--context", context, ...(values.namespace === undefined ? [] : ["-n", values.namespace])];
  const store = ["--local", "--dir", directory];
  try {
    say(`what runs in context ${context}`);
    await show(program, ["storages", ...where]);
    say("back up into a temporary directory");
    await show(program, ["create", ...where, ...store]);
    await show(program, ["list", ...where, ...store]);
    say("what a restore would do; nothing is changed");
    const date = (readdirSync(directory)[0] ?? "").replace(/(\.partial)?\.tar\.gz$/, "");
    await show(program, ["verify", date, ...store]);
    await show(program, ["restore", "--date", date, "--dry-run", ...where, ...store]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const counts = {
  postgresql:
    "psql -XAt -d appdb -c \"select 'things: ' || count(*) || ' rows, checksum ' || md5(string_agg(t::text, '|' order by id)) from app.things t\"",
  mariadb:
    "mariadb $at -N -B -r -e \"select concat('things: ', count(*), ' rows, checksum ', md5(group_concat(concat_ws('|', id, name, hex(raw), doc, price) order by id))) from appdb.things\"",
} as const;

async function showContents(): Promise<void> {
  for (const [storage, sql] of Object.entries(counts)) {
    const text = await inPod(
      "production-kaa",
      storage,
      sql.replace("mariadb $at", 'mariadb $at --init-command="set session group_concat_max_len = 1000000000"'),
    ).catch((error: Error) => `gone: ${error.message.trim().split("\n").at(-2) ?? error.message}`);
    process.stdout.write(`${storage}: ${text.trim()}\n`);
  }
}

async function onBed(): Promise<void> {
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    throw new Error("the test bed needs root on Linux; with a cluster of your own: npm run demo -- --context NAME");
  }
  say("bringing up a real Kubernetes, S3 and the seven storages (the first time they are built: about 25 minutes)");
  await show("bash", [join(root, "test/e2e/bed/bed"), "up"]);
  const program = await built();
  say("filling the storages of namespace production-kaa");
  await show("bash", [join(root, "test/e2e/bed/bed"), "reset"]);
  for (const native of Object.values(natives)) await native.seed("production-kaa");
  await showContents();
  const env = { ...bedEnvironment(), ...(await credentialsOf("production-kaa")) };
  const before = await everyContent("production-kaa");
  const here = ["-n", "production-kaa"];
  say("create");
  await show(program, ["create", ...here], env);
  say("list");
  await show(program, ["list", ...here], env);
  say("destroying: databases, buckets and indices dropped, rows deleted, users removed and added");
  for (const native of Object.values(natives)) await native.damage("production-kaa");
  await showContents();
  const damaged = await everyContent("production-kaa");
  say("restore");
  const [date = ""] = (await run(program, ["list", ...here, "-o", "name"])).stdout.split("\n");
  await show(program, ["restore", "--date", date, ...here, "--yes"], env);
  say("comparing");
  await showContents();
  const after = await everyContent("production-kaa");
  await logIn("production-kaa");
  for (const [storage, content] of Object.entries(before)) {
    if (damaged[storage] === content) throw new Error(`${storage} was not damaged, so nothing is shown`);
    if (after[storage] !== content) throw new Error(`${storage} differs from what was backed up`);
    process.stdout.write(
      `${storage}: told by its own tools before and after, ${content.length} characters: no difference\n`,
    );
  }
  process.stdout.write("every password of the namespace's Secrets logs in\n");
  say("done; the bed still runs: npm run bed -- status, npm run bed -- down");
}

try {
  if (values.context === undefined) await onBed();
  else await onOwnCluster(values.context);
} catch (error) {
  process.stderr.write(`demo failed: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
