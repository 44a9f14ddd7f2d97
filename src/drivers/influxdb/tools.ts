/** What both need around the server's own tools. */
import { setTimeout as pause } from "node:timers/promises";
import { UserError } from "../../base/errors.ts";
import { runForText } from "../../cluster/cluster.ts";
import { lacking } from "../commands.ts";
import type { Context } from "../driver.ts";
import { type Found, versionOf } from "./generation.ts";

/** @param script prints what is missing, one a line, and then "kilobytes N".
 *  @returns the bytes that the data take.
 *  @throws UserError `storage-not-ready` naming the tools that the container lacks. */
export async function requireTools({ target }: Found, context: Context, script: string): Promise<number> {
  const lines = (await runForText(context.cluster, target, { script, signal: context.signal })).trim().split("\n");
  const missing = lines.filter((line) => !line.startsWith("kilobytes "));
  if (missing.length > 0) throw lacking(target, missing);
  return Number(/^kilobytes (\d+)$/m.exec(lines.join("\n"))?.[1] ?? 0) * 1024;
}

const pingMs = 5000;
const deadAfter = 3;

/** InfluxDB's tools try a dead server again for minutes. This asks the server itself, and ends the work sooner. */
export async function whileAlive<T>(
  { agent }: Found,
  context: Context,
  work: (alive: Context) => Promise<T>,
): Promise<T> {
  const ended = new AbortController();
  const dead = new AbortController();
  const watch = async () => {
    for (let failures = 0; !ended.signal.aborted; ) {
      await pause(pingMs, undefined, { signal: ended.signal });
      const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(pingMs)]);
      failures = await versionOf(agent, signal).then(
        () => 0,
        () => failures + 1,
      );
      if (failures >= deadAfter) dead.abort(new UserError("storage-failed", "InfluxDB has stopped answering"));
    }
  };
  const watching = watch().catch(() => {}); // ends by `ended`
  try {
    return await work({ ...context, signal: AbortSignal.any([context.signal, dead.signal]) });
  } finally {
    ended.abort();
    await watching;
  }
}
