/** Runs one command in a container and believes it only when everything agrees: the server's status, the command's exit
 *  code, and the pod's own count and hash of what it sent and received. */
import { randomBytes } from "node:crypto";
import { type Digest, Meter, sameDigest } from "../base/bytes.ts";
import { asError, messageOf, UserError } from "../base/errors.ts";
import { apiPath, type Connection, pause } from "./api.ts";
import type { Command, Execution, ExecutionResult, Target } from "./cluster.ts";
import { type ExecSession, openExec } from "./exec.ts";
import { redact } from "./redact.ts";
import type { Liveness } from "./socket.ts";
import { readWitness, type Witness } from "./witness.ts";
import { wrapperScript } from "./wrapper.ts";

export interface RemoteOptions {
  readonly liveness: Liveness;
  /** Throws when the pod's name no longer means this pod. */
  readonly checkPod: (signal: AbortSignal) => Promise<void>;
}

/** Starts when `output` is first asked for a chunk. */
export function executeRemote(
  connection: Connection,
  target: Target,
  command: Command,
  options: RemoteOptions,
): Execution {
  const done = Promise.withResolvers<ExecutionResult>();
  done.promise.catch(() => {}); // whoever only reads `output` gets the same error there
  return { output: run(connection, target, command, options, done), done: done.promise };
}

async function* run(
  connection: Connection,
  target: Target,
  command: Command,
  options: RemoteOptions,
  done: PromiseWithResolvers<ExecutionResult>,
): AsyncGenerator<Uint8Array> {
  const ending = new AbortController(); // ends side work: the stdin pump and the probe
  const signals = [command.signal, ending.signal];
  if (command.timeoutMs !== undefined) signals.push(deadline(command.timeoutMs, target));
  const signal = AbortSignal.any(signals);
  let session: ExecSession | undefined;
  try {
    const sent = withShortLine(command);
    const nonce = randomBytes(8).toString("hex");
    session = await openExec(connection, {
      path: execPath(target, commandLine(sent, nonce)),
      doing: `cannot run a command in pod "${target.pod.name}"`,
      signal,
      liveness: options.liveness,
      probe: () => options.checkPod(signal).then(() => true),
    });
    const feeding = feed(session, sent, options, signal);
    const meter = new Meter();
    for await (const chunk of session.stdout) {
      meter.update(chunk);
      yield chunk;
    }
    ending.abort();
    const feedError = await feeding;
    done.resolve(judge(session, { target, command, nonce, arrived: meter.digest(), feedError }));
  } catch (error) {
    command.signal.throwIfAborted();
    const failure = describe(error, target);
    done.reject(failure);
    throw failure;
  } finally {
    ending.abort();
    session?.close();
    done.reject(new Error("the output was not read to its end")); // no effect once settled
  }
}

/** Longer scripts and arguments go over stdin: everything in the command is part of one URL, whose length proxies limit, often
 *  to 8 KiB. */
const longCommandBytes = 2048;

function withShortLine(command: Command): Command {
  const args = command.args ?? [];
  if (Buffer.byteLength([command.script, ...args].join("&command=")) <= longCommandBytes) return command;
  const quoted = args.map((each) => `'${each.replaceAll("'", "'\\''")}'`).join(" ");
  return {
    ...command,
    script: 'eval "set -- $KAA_ARGUMENTS"; eval "$KAA_SCRIPT"',
    args: [],
    secrets: { ...command.secrets, KAA_ARGUMENTS: quoted, KAA_SCRIPT: command.script },
  };
}

function commandLine(command: Command, nonce: string): readonly string[] {
  const input = command.input;
  const [length, sha256] = input === undefined ? ["none", "-"] : [String(input.digest.bytes), input.digest.sha256];
  const codings = [input?.encoding ?? "identity", command.outputEncoding ?? "identity"];
  const wrapped = [nonce, length, sha256, ...codings, command.script, ...(command.args ?? [])];
  return ["sh", "-c", wrapperScript, "kaa-backup", ...wrapped];
}

function execPath(target: Target, argv: readonly string[]): string {
  const query = new URLSearchParams({ container: target.container, stdin: "true", stdout: "true", stderr: "true" });
  for (const argument of argv) query.append("command", argument);
  return `${apiPath("api", "v1", "namespaces", target.pod.namespace, "pods", target.pod.name, "exec")}?${query}`;
}

function deadline(timeoutMs: number, target: Target): AbortSignal {
  const controller = new AbortController();
  const error = new UserError("deadline", `the command in pod "${target.pod.name}" took over ${timeoutMs / 1000} s`);
  setTimeout(() => controller.abort(error), timeoutMs).unref();
  return controller.signal;
}

/** Sends secrets, then the input, then heartbeats until the session is over. Secrets go only to the pod that was meant.
 *  @returns the first error of our own side, which has then ended the session; never rejects. */
async function feed(
  session: ExecSession,
  command: Command,
  { checkPod, liveness }: RemoteOptions,
  signal: AbortSignal,
): Promise<Error | undefined> {
  try {
    await checkPod(signal);
    await session.write(secretLines(command.secrets ?? {}));
    if (command.input !== undefined) await feedInput(session, command.input);
    await beat(session, liveness.heartbeatMs, signal);
    return undefined;
  } catch (error) {
    if (session.over || signal.aborted) return undefined; // nobody reads any more: the status tells why
    const failure = asError(error);
    session.fail(failure);
    return failure;
  }
}

async function feedInput(session: ExecSession, input: NonNullable<Command["input"]>): Promise<void> {
  const meter = new Meter();
  for await (const chunk of input.bytes) {
    if (session.over) return;
    meter.update(chunk);
    if (meter.bytes > input.digest.bytes) break;
    await session.write(chunk);
  }
  if (!sameDigest(meter.digest(), input.digest)) {
    throw new UserError("invalid-snapshot", "the data to restore is not what its digest says");
  }
}

async function beat(session: ExecSession, heartbeatMs: number, signal: AbortSignal): Promise<void> {
  while (!session.over) {
    await pause(heartbeatMs, signal);
    // Not while output comes: see the head of socket.ts.
    if (!session.over && session.quietMs >= heartbeatMs / 2) await session.beat();
  }
}

/** NAME=value lines and an empty one; every byte of a value is an octal escape of printf's %b. */
export function secretLines(secrets: Readonly<Record<string, string>>): Buffer {
  const lines = Object.entries(secrets).map(([name, value]) => {
    if (!/^[A-Z][A-Z0-9_]*$/.test(name)) throw new TypeError(`"${name}" is no name for an environment variable`);
    if (value.includes("\0")) throw new UserError("credentials", "a password contains a NUL byte");
    const escaped = Array.from(Buffer.from(value, "utf8"), (byte) => `\\0${byte.toString(8).padStart(3, "0")}`);
    return `${name}=${escaped.join("")}\n`;
  });
  return Buffer.from(`${lines.join("")}\n`);
}

interface Evidence {
  readonly target: Target;
  readonly command: Command;
  readonly nonce: string;
  readonly arrived: Digest;
  readonly feedError: Error | undefined;
}

/** The only place where a command is called a success. */
function judge(session: ExecSession, evidence: Evidence): ExecutionResult {
  const { command, arrived } = evidence;
  if (evidence.feedError !== undefined) throw evidence.feedError;
  const { witness, words: said } = readWitness(session.stderr, evidence.nonce);
  const words = redact(said, Object.values(command.secrets ?? {}));
  const status = session.status;
  if (status === undefined) throw lostStatus(witness, arrived, words);
  const input = command.input?.digest;
  if (input !== undefined && witness?.received !== undefined && !sameDigest(witness.received, input)) {
    throw new UserError("stream-lost", `the pod received ${witness.received.bytes} of ${input.bytes} bytes`);
  }
  if (!status.success) {
    if (status.exitCode === undefined && arrived.bytes > 0) {
      throw new UserError(
        "stream-lost",
        `the server ended the command after ${arrived.bytes} bytes: ${status.message}`,
      );
    }
    throw commandError(status.exitCode, status.message, words);
  }
  if (witness === undefined) throw incomplete("the pod's own report is missing", words);
  if (witness.command !== 0) throw incomplete("the pod reports no successful end of the command", words);
  return { plain: plainDigest(witness, evidence, words), sent: arrived, stderr: words };
}

/** The pod's witness alone is no success: whoever swallows the status may swallow more. */
function lostStatus(witness: Witness | undefined, arrived: Digest, words: string): UserError {
  const isWhole = witness?.command === 0 && witness.sent !== undefined && sameDigest(witness.sent, arrived);
  if (!isWhole) {
    const message = `the connection closed after ${arrived.bytes} bytes, before the command's result`;
    return new UserError("stream-lost", message, causeOf(words));
  }
  return new UserError("stream-lost", "the command has ended, but Kubernetes' word about it never came", {
    hints: ["a proxy or gateway in front of the API server swallows it: go around it (--server, another context)"],
  });
}

/** Checks the witness's counts and hashes against what arrived; gives the digest of the output before encoding. */
function plainDigest(witness: Witness, { command, arrived }: Evidence, words: string): Digest {
  if (command.input !== undefined && witness.received === undefined) throw missingHash(words);
  if (command.input?.encoding === "gzip" && witness.decoder !== 0) throw incomplete("decompression failed", words);
  if (witness.sent === undefined) throw missingHash(words);
  if (!sameDigest(witness.sent, arrived)) {
    const counts = `the pod sent ${witness.sent.bytes} bytes, ${arrived.bytes} arrived`;
    throw incomplete(`${counts}, yet the container runtime reports success`, words);
  }
  if (command.outputEncoding !== "gzip") return arrived;
  if (witness.encoder !== 0) throw incomplete("compression failed", words);
  if (witness.plain === undefined) throw missingHash(words);
  return witness.plain;
}

function incomplete(what: string, words: string): UserError {
  return new UserError("storage-failed", `the output is not whole: ${what}`, causeOf(words));
}

function missingHash(words: string): UserError {
  const message = "the container has neither openssl nor sha256sum, so nothing it sends can be proved";
  return new UserError("storage-not-ready", message, causeOf(words));
}

/** Exit codes as sh gives them: 126 and 127 for a command that cannot run, 128 + N for one killed by signal N. */
function commandError(exitCode: number | undefined, message: string, words: string): UserError {
  if (exitCode === undefined) {
    return new UserError("storage-not-ready", `the command could not be started: ${message}`, causeOf(words));
  }
  if (exitCode === 126 || exitCode === 127) {
    return new UserError("storage-not-ready", `a tool is missing in the container: ${lastLine(words)}`, causeOf(words));
  }
  const meanings: Readonly<Record<number, string>> = {
    137: " (killed: out of memory, or the container stopped)",
    143: " (terminated)",
  };
  const meaning = meanings[exitCode] ?? "";
  return new UserError("storage-failed", `exit code ${exitCode}${meaning}: ${lastLine(words)}`, causeOf(words));
}

function lastLine(words: string): string {
  return words.slice(words.lastIndexOf("\n") + 1).slice(-300) || "no message";
}

function causeOf(words: string): { cause: Error } | Record<string, never> {
  return words === "" ? {} : { cause: new Error(words.slice(-4096)) };
}

/** Everything that is not a UserError yet came from the connection. */
function describe(error: unknown, target: Target): Error {
  const where = `pod "${target.pod.namespace}/${target.pod.name}"`;
  if (error instanceof UserError) {
    return error.in(where);
  }
  return new UserError("stream-lost", `${where}: the connection broke: ${messageOf(error)}`, { cause: error });
}
