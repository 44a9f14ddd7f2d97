/** A namespace in this process: functions answer for commands, and this does what the wrapper in a pod does with their input
 *  and output. No network, so that what a sweep breaks is what it means to break. */
import { gunzipSync, gzipSync } from "node:zlib";
import { type Bytes, collect, digestOf, sameDigest } from "../../src/base/bytes.ts";
import { UserError } from "../../src/base/errors.ts";
import type { Cluster, Command, Execution, Pod } from "../../src/cluster/cluster.ts";
import type { Answer } from "./api-answer.ts";
import { heldLock, podNamed } from "./script-cluster.ts";

const chunkBytes = 64 * 1024;
const mostInputBytes = 64 * 1024 * 1024;

/** The calls of a cluster that use-cases of backup and restore make. */
export type AnsweredCalls = Pick<Cluster, "checkNamespace" | "listPods" | "version" | "execute" | "lock">;

/** @param answer of the one pod, which is of this storage. */
export function answerCluster(storage: string, answer: Answer): AnsweredCalls {
  const labels = { "app.kubernetes.io/name": storage, "app.kubernetes.io/instance": "kaa" };
  const pods: readonly Pod[] = [podNamed(`kaa-${storage}-0`, labels)].map((pod) => ({
    ...pod,
    owner: `kaa-${storage}`,
  }));
  return {
    checkNamespace: async () => {},
    listPods: async () => pods,
    version: async () => "v1.34.4",
    execute: (_target, command) => execute(command, answer),
    lock: async () => heldLock,
  };
}

function execute({ script, args = [], input, outputEncoding, signal }: Command, answer: Answer): Execution {
  const result = (async () => {
    const raw = input === undefined ? Buffer.alloc(0) : await collect(input.bytes, mostInputBytes);
    if (input !== undefined && !sameDigest(digestOf(raw), input.digest))
      throw new UserError("storage-failed", "the pod refused input that is not whole");
    signal.throwIfAborted();
    const plain = Buffer.from(answer({ script, args, input: input?.encoding === "gzip" ? gunzipSync(raw) : raw }));
    const sent = outputEncoding === "gzip" ? gzipSync(plain, { level: 1 }) : plain;
    return { plain, sent };
  })();
  const done = result.then(({ plain, sent }) => ({ plain: digestOf(plain), sent: digestOf(sent), stderr: "" }));
  done.catch(() => {}); // whoever only reads the output gets the same error there
  const output = (async function* (): Bytes {
    const { sent } = await result;
    for (let at = 0; at < sent.byteLength; at += chunkBytes) {
      signal.throwIfAborted();
      yield sent.subarray(at, at + chunkBytes);
    }
  })();
  return { output, done };
}
