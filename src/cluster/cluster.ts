/** Cluster: reaches pods. This folder imports `base` only, and is the only one that imports the Kubernetes client library
 *  and `ws`. Drivers see the contract in this file and nothing else. */
import type { Duplex } from "node:stream";
import { type Bytes, collect, type Digest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { Fields } from "../base/json.ts";

export interface Container {
  readonly name: string;
  readonly ready: boolean;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  /** Names of the environment variables the pod spec sets, with where each value comes from. Values of secret
   *  references are not resolved here: they stay in the pod. */
  readonly environment: Readonly<Record<string, EnvironmentSource>>;
}

export type EnvironmentSource =
  | { readonly value: string }
  | { readonly secret: string; readonly key: string }
  | { readonly other: true };

export interface Pod {
  readonly name: string;
  readonly namespace: string;
  /** Pods are addressed by name, so every call checks that the name still means this uid. */
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Name of the StatefulSet, Deployment (not ReplicaSet) or DaemonSet that owns it; the pod's own name when nothing does. */
  readonly owner: string;
  readonly ready: boolean;
  readonly phase: string;
  readonly containers: readonly Container[];
}

/** A container of a pod, where commands run. */
export interface Target {
  readonly pod: Pod;
  readonly container: string;
}

/** A command to run in a container. Everything in it but `secrets` and `input` is visible in audit logs and in the pod's
 *  process list, so it must hold nothing secret. */
export interface Command {
  /** A constant POSIX `sh` script (busybox and dash too). Arguments are its "$1", "$2", …; never splice values into it. */
  readonly script: string;
  /** Data for the script: names of databases and the like. */
  readonly args?: readonly string[];
  /** Environment variables for the script, sent over stdin before any data: passwords, and nothing else. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** The script's standard input; without it the script reads end-of-file. The pod refuses to hand the script its
   *  end-of-file, and kills it instead, unless exactly this many bytes with this hash have arrived. */
  readonly input?: {
    readonly bytes: Bytes;
    readonly digest: Digest;
    /** How `bytes` are encoded: `gzip` is decoded in the pod before the script sees it. */
    readonly encoding: "identity" | "gzip";
  };
  /** `gzip`: the pod compresses the script's output before sending it. */
  readonly outputEncoding?: "identity" | "gzip";
  readonly signal: AbortSignal;
  /** Longest time the whole command may take. Default: none; pings and the watchdog still bound a dead connection. */
  readonly timeoutMs?: number;
}

/** A running command. `output` must be consumed to its end or broken out of; `done` settles in every case. */
export interface Execution {
  /** Standard output as encoded. Throws when the command fails or its output is not whole: a normal end of this
   *  iteration means the same as `done` being fulfilled. */
  readonly output: Bytes;
  /** @throws UserError `stream-lost` (connection lost before the result), `storage-failed` (exit code, with the tail of
   *  stderr as cause; or the pod's own count and hash differ from what arrived), `storage-not-ready` (no sh, no sha256sum). */
  readonly done: Promise<ExecutionResult>;
}

export interface ExecutionResult {
  /** The output before encoding, counted and hashed in the pod. */
  readonly plain: Digest;
  /** The output as sent, counted and hashed in the pod and found equal here. */
  readonly sent: Digest;
  /** The last 16 KiB of standard error, without the wrapper's own lines. */
  readonly stderr: string;
}

/** A lock in a namespace that heals after a crash (a Kubernetes Lease that is renewed while held). */
export interface Lock {
  /** Fires when the lock was lost: renewal failed for longer than its duration. */
  readonly lost: AbortSignal;
  /** The purpose of a run whose lock had run out without being released, when this one took it over. */
  readonly abandoned: string | undefined;
  /** Asks the server whether the lock is still ours: after a sleep, `lost` may not have fired yet. Asks again while it does
   *  not answer, until the lock may be somebody else's.
   *  @throws UserError `busy` when it is not ours, or may not be. */
  confirm(): Promise<void>;
  release(): Promise<void>;
}

/** The kinds that this program reads or makes beside pods' own doings. Nothing else of the API is touched. */
export type ObjectKind = "configmaps" | "cronjobs" | "events" | "jobs" | "pods";

/** Plain objects of a namespace. Every call throws UserError `forbidden` naming the missing rule. */
export interface Objects {
  /** @returns undefined when there is none. */
  get(kind: ObjectKind, place: ObjectPlace, signal: AbortSignal): Promise<Fields | undefined>;
  /** All that bear these labels, "app=kaa,role=data". */
  list(kind: ObjectKind, namespace: string, labels: string, signal: AbortSignal): Promise<readonly Fields[]>;
  /** @throws UserError `busy` when one of that name is there. */
  create(kind: ObjectKind, namespace: string, body: Fields, signal: AbortSignal): Promise<Fields>;
  /** A merge patch (RFC 7386). @throws UserError `not-found`. */
  patch(kind: ObjectKind, place: ObjectPlace, change: Fields, signal: AbortSignal): Promise<Fields>;
}

export interface ObjectPlace {
  readonly namespace: string;
  readonly name: string;
}

/** One verb on one kind of thing. */
export interface Right {
  /** "" for the core group. */
  readonly group: string;
  /** With its subresource: "pods/exec". */
  readonly resource: string;
  readonly verb: string;
  readonly name?: string;
}

export interface Cluster {
  /** Host of the API server and name of the context, for messages. */
  readonly server: string;
  readonly contextName: string;
  /** The namespace of the context, or of the pod this program runs in; else "default". */
  readonly defaultNamespace: string;
  /** False when nobody checks that the API server is the one that is meant. */
  readonly isVerified: boolean;
  /** "v1.34.4" */
  version(signal: AbortSignal): Promise<string>;
  /** Names of all namespaces, which few may list. For completion only. */
  listNamespaces(signal: AbortSignal): Promise<readonly string[]>;
  /** @throws UserError `not-found` when the namespace does not exist. */
  checkNamespace(namespace: string, signal: AbortSignal): Promise<void>;
  /** All pods of a namespace, paged. */
  listPods(namespace: string, signal: AbortSignal): Promise<readonly Pod[]>;
  /** One key of a Secret, or undefined when the Secret or the key is absent.
   *  @throws UserError `forbidden`, naming the missing rule. */
  readSecret(namespace: string, name: string, key: string, signal: AbortSignal): Promise<string | undefined>;
  execute(target: Target, command: Command): Execution;
  /** One TCP connection to a port of a pod, as a Duplex; no local listener. The caller must destroy it. */
  connect(pod: Pod, port: number, signal: AbortSignal): Promise<Duplex>;
  /** Takes the lock `kaa-backup` of a namespace. One that has run out is watched for half a minute first: its holder's clock
   *  may be behind.
   *  @throws UserError `busy` naming the holder and since when. */
  lock(namespace: string, purpose: string, signal: AbortSignal): Promise<Lock>;
  /** As `lock` would, and neither takes it nor waits.
   *  @throws UserError `busy`. */
  checkLock(namespace: string, signal: AbortSignal): Promise<void>;
  isAllowed(namespace: string, right: Right, signal: AbortSignal): Promise<boolean>;
  /** The API server's clock, to the second; undefined when it does not tell. */
  serverTime(signal: AbortSignal): Promise<Date | undefined>;
  readonly objects: Objects;
}

/** Runs a command and returns its (small) output as text.
 *  @throws as Execution.done does; UserError `deadline` when the output is larger than `limitBytes`. */
export async function runForText(
  cluster: Cluster,
  target: Target,
  command: Command,
  limitBytes = 16 * 1024 * 1024,
): Promise<string> {
  const execution = cluster.execute(target, command);
  const output = await collect(execution.output, limitBytes).catch((error: unknown) => {
    if (!(error instanceof RangeError)) throw error;
    throw new UserError("deadline", `pod "${target.pod.name}" answers without end: ${error.message}`, {
      hints: ["look at what its tools print: kubectl exec"],
    });
  });
  await execution.done;
  return output.toString("utf8");
}
