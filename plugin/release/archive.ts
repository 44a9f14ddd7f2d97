import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { create } from "tar";

/** Packs files of a folder into a tar.gz. Equal files give equal bytes: order and time are given, owners are left out.
 *  (Equal by the same zlib: Node's, which package-lock.json pins, on one kind of processor.) */
export async function packArchive(
  file: string,
  content: { readonly folder: string; readonly names: readonly string[]; readonly date: Date },
): Promise<void> {
  const archive = create({ cwd: content.folder, portable: true, noPax: true, mtime: content.date }, [...content.names]);
  await pipeline(archive, createGzip({ level: 9 }), createWriteStream(file));
}
