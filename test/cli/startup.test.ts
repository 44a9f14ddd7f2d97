/** What has an answer without asking anybody loads no client of anybody, and asks nobody. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { nameOf } from "../../src/cli/command.ts";
import { commands } from "../../src/cli/commands.ts";
import type { Watched } from "./watched.ts";

/** In one process of its own, for here everything is loaded already. */
async function watch(commandLines: readonly (readonly string[])[]): Promise<Watched> {
  const program = fileURLToPath(new URL("watched.ts", import.meta.url));
  const args = ["--no-warnings", program, JSON.stringify(commandLines)];
  const env = { ...process.env, KUBECONFIG: "/dev/null" };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env, maxBuffer: 16 * 1024 * 1024 });
  return JSON.parse(stdout) as Watched;
}

const heavy =
  /node_modules\/(@aws-sdk|@smithy|@kubernetes|ws|bson|yaml|json-p3|@clack|prom-client|croner|cronstrue)\/|\/src\/(cluster\/(?!cluster\.ts)|stores\/s3|drivers\/[a-z]+\.ts)/;
const contracts = /\/src\/drivers\/(registry|driver|commands|find)\.ts$/;
const clientsIn = ({ modules }: Watched) => modules.filter((url) => heavy.test(url) && !contracts.test(url));

const answered = [
  ["--help"],
  ["--version"],
  ["version", "--client"],
  ["version", "--client", "-o", "json"],
  ["__complete", "cr"],
  ["completion", "bash"],
];
const helped = commands.map(({ spec }) => [nameOf(spec), "--help"]);
const refused = [
  [],
  ["creat"],
  ["list", "--lokal"],
  ["list", "-o", "xml"],
  ["create", "--storage", "nope"],
  ["create", "--compression", "zstd"],
  ["describe"],
  ["restore"],
  ["backup", "--namespace", "kaa", "create_s3_all_backup"],
];

test("help, the client's version and usage errors load no client and call nobody", { timeout: 120_000 }, async () => {
  const watched = await watch([...answered, ...helped, ...refused]);
  expect(watched.codes.slice(0, answered.length + helped.length)).toEqual([...answered, ...helped].map(() => 0));
  expect(watched.codes.slice(answered.length + helped.length)).toEqual([2, 2, 2, 2, 2, 2, 2, 16, 2]);
  expect(watched.modules.join("\n")).toMatch(/\/src\/cli\/create\.ts$/m);
  expect(clientsIn(watched)).toEqual([]);
  expect(watched.calls).toEqual([]);
});

test("a command that does ask somebody is seen doing so", { timeout: 120_000 }, async () => {
  const watched = await watch([["version", "--server", "https://127.0.0.1:1"]]);
  expect(watched.codes).toEqual([6]);
  expect(watched.stdout[0]).toMatch(/^Client Version: +\d/);
  expect(clientsIn(watched).join("\n")).toMatch(/@kubernetes\/client-node/);
  expect(watched.calls).toContain("connect");
});
