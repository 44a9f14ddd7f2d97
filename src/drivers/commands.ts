/** What drivers that run tools in a pod have in common. */
import { type Bytes, collect } from "../base/bytes.ts";
import { messageOf, type Outcome, UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { type Command, type Pod, runForText, type Target } from "../cluster/cluster.ts";
import type { BackupStream, Context, DumpOutput, DumpResult, Instance } from "./driver.ts";

/** The pod to talk to, and the container in it: named by configuration, else one whose environment has one of these
 *  variables, else one of this name, else the only one.
 *  @throws UserError `storage-not-ready` listing the candidates. */
export function chooseTarget(instance: Instance, hints: { readonly variables: RegExp; readonly name: RegExp }): Target {
  const ready = instance.pods.filter((pod) => pod.ready);
  const primaries = ready.filter((pod) => /^(primary|master)$/.test(roleOf(pod.labels)));
  const [pod, ...others] = primaries.length > 0 ? primaries : ready;
  if (pod === undefined) {
    const states = instance.pods.map((each) => `${each.name} (${each.phase}, not ready)`).join(", ");
    throw new UserError("storage-not-ready", `no pod of "${instance.name}" is ready: ${states || "there is none"}`);
  }
  if (others.length > 0) {
    const names = [pod, ...others].map((each) => each.name).join(", ");
    throw new UserError("storage-not-ready", `"${instance.name}" has several pods that may be the primary: ${names}`);
  }
  const { containers } = pod;
  if (instance.container !== undefined && !containers.some((each) => each.name === instance.container)) {
    const names = containers.map((each) => each.name).join(", ");
    throw new UserError(
      "storage-not-ready",
      `pod "${pod.name}" has no container "${instance.container}", which the configuration names; it has ${names}`,
    );
  }
  const container =
    containers.find((each) => each.name === instance.container) ??
    containers.find((each) => Object.keys(each.environment).some((name) => hints.variables.test(name))) ??
    containers.find((each) => hints.name.test(each.name)) ??
    (containers.length === 1 ? containers[0] : undefined);
  if (container === undefined) {
    const names = containers.map((each) => each.name).join(", ");
    throw new UserError("storage-not-ready", `which container of pod "${pod.name}" is it? It has ${names}`);
  }
  return { pod, container: container.name };
}

function roleOf(labels: Readonly<Record<string, string>>): string {
  return labels["app.kubernetes.io/component"] ?? labels["role"] ?? labels["component"] ?? "";
}

/** Runs a script that prints one JSON document. */
export async function runForJson(
  context: Context,
  target: Target,
  command: Omit<Command, "signal">,
): Promise<JsonValue> {
  const text = await runForText(context.cluster, target, { ...command, signal: context.signal });
  try {
    return JSON.parse(text) as JsonValue; // JSON by definition; each driver reads it with care
  } catch (error) {
    throw new UserError("storage-failed", `the server's answer is not JSON: ${messageOf(error)}`, { cause: error });
  }
}

/** Dumps a script's output as one stream, and gives its stderr. */
export async function dumpStream(
  context: Context,
  target: Target,
  output: DumpOutput,
  stream: {
    readonly name: string;
    readonly command: Omit<Command, "signal">;
    /** As of `DumpOutput.stream`. */
    readonly isCompressed?: boolean;
    readonly check?: (bytes: Bytes) => Bytes;
  },
): Promise<string> {
  const encoding = stream.command.outputEncoding ?? "identity";
  const execution = context.cluster.execute(target, { ...stream.command, signal: context.signal });
  await output.stream(stream.name, {
    bytes: stream.check === undefined ? execution.output : stream.check(execution.output),
    encoding,
    isCompressed: stream.isCompressed === true,
    finish: async () => {
      const { plain, sent } = await execution.done;
      return { plain, stored: sent, by: "pod" };
    },
  });
  return (await execution.done).stderr;
}

const environmentScript = `for name in "$@"; do
  eval "value=\\\${$name-}; file=\\\${\${name}_FILE-}"
  if [ -z "$value" ] && [ -n "$file" ]; then value=$(cat "$file") || exit; fi
  printf '%s\\0' "$value"
done`;

/** Values of a container's environment variables, as the container itself sees them: also those that come from Secrets,
 *  and those given as a file in NAME_FILE. Unset ones are absent. Needs no right to read Secrets.
 *  @param names constants of the driver. */
export async function readEnvironment<Name extends string>(
  context: Context,
  target: Target,
  names: readonly Name[],
): Promise<Readonly<Partial<Record<Name, string>>>> {
  const command = { script: environmentScript, args: names, signal: context.signal };
  const values = (await runForText(context.cluster, target, command)).split("\0");
  const found = names.flatMap((name, index) => (values[index] ? [[name, values[index]] as const] : []));
  return Object.fromEntries(found) as Partial<Record<Name, string>>; // its keys are the names
}

/** Who compresses a dump of a tool that does not do it by itself. The pod, unless told otherwise: what crosses the API server
 *  is then a third (bench/README.md). gzip is in every image that these drivers know. */
export function outputEncoding({ compression }: Context): "identity" | "gzip" {
  return compression === "client" ? "identity" : "gzip";
}

/** Feeds a stream of a backup to a script; gives the script's output. */
export async function feedStream(
  context: Context,
  target: Target,
  stream: BackupStream,
  command: Omit<Command, "signal" | "input">,
): Promise<string> {
  const input = { bytes: stream.read(), digest: stream.stored, encoding: stream.encoding };
  return await runForText(context.cluster, target, { ...command, input, signal: context.signal });
}

/** Passes bytes through and throws unless they end with this text (white space apart): the format's own end mark. */
export async function* requireEnd(bytes: Bytes, endMark: RegExp, what: string): Bytes & AsyncGenerator<Uint8Array> {
  let tail = Buffer.alloc(0);
  for await (const chunk of bytes) {
    tail = Buffer.from(Buffer.concat([tail, chunk]).subarray(-512));
    yield chunk;
  }
  if (!endMark.test(tail.toString("utf8"))) throw new UserError("storage-failed", `${what} has no end mark: it is cut`);
}

/** A small stream, whole. */
export async function readSmall(stream: BackupStream): Promise<Buffer> {
  return await collect(stream.read(), 64 * 1024 * 1024);
}

/** Gives a failed command the outcome that the tool's own words ask for. */
export function reword(
  error: unknown,
  rules: readonly { readonly words: RegExp; readonly outcome: Outcome }[],
): unknown {
  if (!(error instanceof UserError) || error.outcome !== "storage-failed") return error;
  const words = `${error.message}\n${messageOf(error.cause)}`;
  const rule = rules.find((each) => each.words.test(words));
  return rule === undefined
    ? error
    : new UserError(rule.outcome, error.message, { cause: error.cause, hints: error.hints });
}

/** The port of a pod that has one of these names, in this order; else the fallback, under the name "". */
export function chooseContainerPort(
  pod: Pod,
  wanted: { readonly names: readonly string[]; readonly fallback: number },
): { readonly name: string; readonly port: number } {
  const ports = pod.containers.flatMap((each) => each.ports);
  const named = wanted.names.map((name) => ports.find((port) => port.name === name)).find((port) => port !== undefined);
  return named ?? { name: "", port: wanted.fallback };
}

/** A field of a JSON answer; what is no object has none. */
export function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** The counts that a dump can promise: those that were the same before and after it. */
export function steadyCounts(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Pick<DumpResult, "counts" | "warnings"> {
  const changed = Object.keys(before).filter((unit) => after[unit] !== before[unit]);
  return {
    counts: Object.fromEntries(Object.entries(before).filter(([unit]) => !changed.includes(unit))),
    warnings: changed.length > 0 ? [`not counted, for they changed during the dump: ${changed.join(", ")}`] : [],
  };
}

/** A container without the tools that its driver needs. */
export function lacking(
  { pod, container }: Target,
  tools: readonly string[],
  hints: readonly string[] = [],
): UserError {
  return new UserError("storage-not-ready", `container "${container}" of pod "${pod.name}" lacks ${tools.join(", ")}`, {
    hints,
  });
}
