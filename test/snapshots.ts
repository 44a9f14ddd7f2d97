/** Small snapshots of any date, in buckets and directories, for tests of what is done with many of them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonValue } from "../src/base/json.ts";
import { snapshotName } from "../src/base/snapshot-name.ts";
import type { FakeBucket } from "./fakes/s3-state.ts";
import { facts, header, type MadeFile, make, send } from "./snapshot/make.ts";

export interface Wanted {
  readonly namespace?: string;
  /** "postgresql/kaa-postgresql". Default: that one. */
  readonly holds?: readonly string[];
  /** What was asked for and failed: the snapshot is partial then. */
  readonly lacks?: readonly string[];
  readonly facts?: JsonValue;
}

const partsOf = (task: string) => {
  const [storage = "", instance = ""] = task.split("/");
  return { storage, instance };
};

export async function snapshotAt(startedAt: Date, wanted: Wanted = {}): Promise<MadeFile> {
  const dumps = (wanted.holds ?? ["postgresql/kaa-postgresql"]).map((task) => ({
    ...partsOf(task),
    async run(output: Parameters<typeof send>[0]) {
      await send(output, { name: "data", content: Buffer.from(task) });
      return { ...facts, facts: wanted.facts ?? null };
    },
  }));
  const failures = (wanted.lacks ?? []).map((task) => ({ ...partsOf(task), reason: "it was down" }));
  return await make(dumps, {
    header: { ...header, name: snapshotName(startedAt), namespace: wanted.namespace ?? header.namespace },
    failures,
    clock: () => startedAt,
  });
}

export function plantIn(bucket: FakeBucket, ...files: readonly MadeFile[]): void {
  for (const { fileName, bytes } of files) bucket.plant(fileName, bytes);
}

export function writeTo(directory: string, ...files: readonly MadeFile[]): void {
  mkdirSync(directory, { recursive: true });
  for (const { fileName, bytes } of files) writeFileSync(join(directory, fileName), bytes);
}

/** `count` dates, one each day, the last one at `last`. */
export function daily(count: number, last: Date): readonly Date[] {
  return Array.from({ length: count }, (_, index) => new Date(last.getTime() - index * 86_400_000)).reverse();
}
