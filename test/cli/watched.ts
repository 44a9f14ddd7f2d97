/** Runs command lines (JSON, the only argument) one after another, and prints as JSON how each ended, which modules all of
 *  them together have loaded, and how often somebody was called. */
import dns from "node:dns";
import { registerHooks } from "node:module";
import net from "node:net";

export interface Watched {
  readonly codes: readonly number[];
  readonly stdout: readonly string[];
  readonly modules: readonly string[];
  readonly calls: readonly string[];
}

const modules: string[] = [];
const calls: string[] = [];
registerHooks({
  load(url, context, next) {
    modules.push(url);
    return next(url, context);
  },
});
const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]) {
  calls.push("connect");
  return (connect as (...args: unknown[]) => net.Socket).apply(this, args);
} as typeof connect;
const { lookup } = dns;
dns.lookup = ((...args: unknown[]) => {
  calls.push("lookup");
  return (lookup as (...args: unknown[]) => void)(...args);
}) as unknown as typeof lookup;

const { session } = await import("./session.ts"); // behind the hooks
const codes: number[] = [];
const stdout: string[] = [];
for (const argv of JSON.parse(process.argv[2] ?? "[]") as readonly (readonly string[])[]) {
  const ran = await session(argv, {});
  codes.push(ran.code);
  stdout.push(ran.stdout);
}
process.stdout.write(JSON.stringify({ codes, stdout, modules, calls } satisfies Watched));
