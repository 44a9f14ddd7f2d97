import { maxFolderPartLength, maxStreamNameLength } from "./limits.ts";
import type { Encoding } from "./toc.ts";

/** One part of a path: letters that every file system takes, no leading dot, so neither "." nor ".." nor a hidden file. */
const part = "[A-Za-z0-9_%=@+-][A-Za-z0-9._%=@+-]*";
const onePart = new RegExp(`^${part}$`);
const streamName = new RegExp(`^${part}(/${part})*$`);
const attemptEnding = "~([2-9]|[1-9][0-9]+)";
const discardedPath = new RegExp(`^(${part}/${part}(${attemptEnding})?)/${part}(/${part})*\\.[0-9]{6}$`);

/** True for what may name a storage or an instance. */
export function isFolderPart(text: string): boolean {
  return text.length <= maxFolderPartLength && onePart.test(text);
}

/** True for a stream's name: parts joined by "/". */
export function isStreamName(text: string): boolean {
  return text.length <= maxStreamNameLength && streamName.test(text);
}

/** Folder of an instance's streams: "postgresql/kaa-postgresql", with "~2" for the second attempt to dump it. */
export function folderOf(owner: { readonly storage: string; readonly instance: string }, attempt: number): string {
  return `${owner.storage}/${owner.instance}${attempt === 1 ? "" : `~${attempt}`}`;
}

/** True for the folder of any attempt to dump this instance. */
export function isFolderOf(owner: { readonly storage: string; readonly instance: string }, folder: string): boolean {
  const first = folderOf(owner, 1);
  return (
    folder === first || (folder.startsWith(first) && new RegExp(`^${attemptEnding}$`).test(folder.slice(first.length)))
  );
}

/** Path of a stream's entries without their number. Two streams of one folder must differ in it: `a` that is encoded and
 *  `a.gz` that is not do not. */
export function entryBase(folder: string, stream: { readonly name: string; readonly encoding: Encoding }): string {
  return `${folder}/${stream.name}${stream.encoding === "gzip" ? ".gz" : ""}`;
}

/** Path of one segment's entry: "postgresql/kaa-postgresql/databases/app.dump.000000". */
export function entryPath(base: string, index: number): string {
  return `${base}.${String(index).padStart(6, "0")}`;
}

/** The folder of a path that `entryPath` can have made, or undefined for any other text. */
export function folderOfEntry(path: string): string | undefined {
  const longest = 2 * maxFolderPartLength + maxStreamNameLength + 32;
  return path.length <= longest ? discardedPath.exec(path)?.[1] : undefined;
}
