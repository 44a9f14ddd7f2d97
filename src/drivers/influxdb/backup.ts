/** Proves that a backup that InfluxDB's own tools have made is whole: every file of its manifest is there. */
import type { Bytes } from "../../base/bytes.ts";
import { messageOf, UserError } from "../../base/errors.ts";
import { checkAlong, tarMembers } from "../tar.ts";

const manifestBytes = 32 * 1024 * 1024;

/** Passes the tar through and throws at its end when something is missing from it.
 *  @throws UserError `storage-failed`. */
export function requireWholeBackup(bytes: Bytes): Bytes {
  return checkAlong(bytes, async (copy) => {
    try {
      await readMembers(copy);
    } catch (error) {
      const why = messageOf(error);
      throw new UserError("storage-failed", `influxd's backup is damaged or not whole: ${why}`, { cause: error });
    }
  });
}

async function readMembers(tar: Bytes): Promise<void> {
  const sizes = new Map<string, number>();
  const manifests: string[] = [];
  for await (const { name, sizeBytes, head } of tarMembers(tar, manifestBytes, (name) => name.endsWith(".manifest"))) {
    sizes.set(name, sizeBytes);
    if (name.endsWith(".manifest")) manifests.push(head);
  }
  if (manifests.length === 0) throw new Error("it has no manifest");
  for (const text of manifests) {
    const names = filesIn(JSON.parse(text));
    if (names.length === 0) throw new Error("its manifest names no file");
    for (const name of names)
      if ((sizes.get(name) ?? 0) === 0)
        throw new Error(`its manifest names ${JSON.stringify(name)}, which is not there`);
  }
}

/** Every `fileName` of a manifest, wherever it stands: 1.x lists files, 2.x has them in its tree of buckets and shards. */
function filesIn(value: unknown): readonly string[] {
  if (typeof value !== "object" || value === null) return [];
  const own = "fileName" in value ? [String(value.fileName)] : [];
  return [...own, ...Object.values(value).flatMap(filesIn)];
}
