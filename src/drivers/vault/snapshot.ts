/** Proves that a raft snapshot is whole: a gzipped tar whose members have the hashes of its SHA256SUMS, with a
 *  SHA256SUMS.sealed that is not empty at its end. What Vault's own client looks at (api/sys_raft.go), and the hashes. */
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import type { Bytes } from "../../base/bytes.ts";
import { messageOf, UserError } from "../../base/errors.ts";
import { checkAlong, tarMembers } from "../tar.ts";

const smallBytes = 64 * 1024;

/** Passes the bytes of a snapshot through, and throws at their end unless they are a whole one.
 *  @throws UserError `storage-failed`. */
export function requireWholeSnapshot(bytes: Bytes): Bytes {
  return checkAlong(bytes, async (copy) => {
    try {
      await readMembers(Readable.from(copy, { objectMode: false }).pipe(createGunzip()));
    } catch (error) {
      const why = messageOf(error);
      throw new UserError("storage-failed", `Vault's snapshot is damaged or cut: ${why}`, { cause: error });
    }
  });
}

async function readMembers(tar: Bytes): Promise<void> {
  const hashes = new Map<string, string>();
  const texts = new Map<string, string>();
  let last = "";
  for await (const { name, sha256, head } of tarMembers(tar, smallBytes)) {
    hashes.set(name, sha256);
    texts.set(name, head);
    last = name;
  }
  if (last !== "SHA256SUMS.sealed" || texts.get(last) === "")
    throw new Error("its last member is not SHA256SUMS.sealed");
  const sums = (texts.get("SHA256SUMS") ?? "").split("\n").filter((line) => line !== "");
  for (const needed of ["meta.json", "state.bin"]) {
    if (!sums.some((line) => line.endsWith(`  ${needed}`))) throw new Error(`SHA256SUMS has no ${needed}`);
  }
  for (const line of sums) {
    const [sha256, name = ""] = line.split("  ");
    if (hashes.get(name) !== sha256) throw new Error(`${JSON.stringify(name)} has not the hash that SHA256SUMS tells`);
  }
}
