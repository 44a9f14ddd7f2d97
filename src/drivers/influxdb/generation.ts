/** What both InfluxDBs have in common: an answer to /ping that tells the version, and the calls of a driver. */
import type { Agent } from "node:http";
import type { Target } from "../../cluster/cluster.ts";
import type { Backup, Context, DumpOutput, DumpResult, Inspection, RestorePlan, RestoreResult } from "../driver.ts";
import { quickMs, sendRequest } from "../http.ts";

/** A server, and the way to it. */
export interface Found {
  readonly target: Target;
  readonly port: number;
  /** Connections to that port. */
  readonly agent: Agent;
  /** "1.8.10" */
  readonly version: string;
}

/** A driver's calls, for a server that was found. */
export interface Generation {
  inspect(server: Found, context: Context): Promise<Inspection>;
  dump(server: Found, output: DumpOutput, context: Context): Promise<DumpResult>;
  plan(server: Found, backup: Backup, context: Context): Promise<RestorePlan>;
  restore(server: Found, backup: Backup, context: Context): Promise<RestoreResult>;
}

/** Anybody may ask.
 *  @returns "" when the answer tells none.
 *  @throws UserError `stream-lost` when nothing answers. */
export async function versionOf(agent: Agent, signal: AbortSignal): Promise<string> {
  const { headers } = await sendRequest(agent, { method: "GET", path: "/ping", signal, answerMs: quickMs });
  const [version] = [headers["x-influxdb-version"]].flat();
  return (version ?? "").replace(/^v/, "");
}
