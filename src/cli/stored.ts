/** What the commands share that read a store. They contact a cluster only to learn the context's namespace, which takes no
 *  request. */
import type { Reporter } from "../base/reporter.ts";
import type { Store } from "../stores/store.ts";
import type { Flags } from "./command.ts";
import { clusterFlags, outputFlags, storeFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { clusterOf, storeOf } from "./options.ts";

export type StoredFlags = Flags<typeof clusterFlags & typeof storeFlags & typeof outputFlags>;

export const storedGroups = { "Where from": storeFlags, Cluster: clusterFlags, Output: outputFlags } as const;

export const dateDescription = "DD-MM-YYYY-hh-mm-ss, UTC";
export const datePositional = { type: "string", demandOption: true, describe: dateDescription } as const;

/** The store that the flags mean. */
export async function storeFor(
  { io, reporter }: Pick<Session, "io"> & { readonly reporter: Reporter },
  parsed: StoredFlags,
): Promise<Store> {
  let namespace = parsed["source-namespace"] ?? parsed.namespace;
  if (namespace === undefined && parsed.local !== true && parsed.bucket === undefined) {
    namespace = (await clusterOf(parsed, io, reporter)).defaultNamespace;
  }
  return await storeOf(parsed, namespace ?? "", io, reporter);
}

export function statusText({ partial }: { readonly partial: boolean }): string {
  return partial ? "Partial" : "Complete";
}
