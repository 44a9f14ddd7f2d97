/** Reads a manifest that anybody may have written. Everything is checked before it is believed: types, ranges, names, and
 *  that the segments cover the file without gap or overlap. Unknown keys are ignored; what a reader must understand, a
 *  future writer names in `requires`. */
import type { Digest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import { parseSnapshotName } from "./name.ts";
import { entryPath, type Header, type InstanceEntry, type Manifest, type Segment, type StreamEntry } from "./toc.ts";

type Json = Readonly<Record<string, unknown>>;

/** @param manifestOffset where the manifest's own member begins: everything before it must be listed.
 *  @throws UserError `invalid-snapshot` naming the key. */
export function parseManifest(text: string, manifestOffset: number): Manifest {
  const json = parseJson(text, "manifest");
  const header = parseHeaderFields(json, "manifest");
  const requires = listAt(json, "requires", "manifest").map((each) => stringOf(each, "requires"));
  if (requires.length > 0) {
    throw new UserError(
      "invalid-snapshot",
      `the snapshot needs a newer version of this program: ${requires.join(", ")}`,
    );
  }
  const manifest: Manifest = {
    ...header,
    startedAt: stringAt(json, "startedAt", "manifest"),
    finishedAt: stringAt(json, "finishedAt", "manifest"),
    clusterVersion: stringAt(json, "clusterVersion", "manifest"),
    complete: booleanAt(json, "complete", "manifest"),
    instances: listAt(json, "instances", "manifest").map((each, index) => parseInstance(each, `instances[${index}]`)),
    failures: listAt(json, "failures", "manifest").map((each, index) => parseFailure(each, `failures[${index}]`)),
    headerSegment: parseSegment(json["headerSegment"], "headerSegment"),
    discarded: listAt(json, "discarded", "manifest").map((each, index) => parseDiscarded(each, `discarded[${index}]`)),
    requires,
  };
  if (manifest.complete !== (manifest.failures.length === 0)) bad("complete", "contradicts the list of failures");
  checkPaths(manifest);
  checkCover(manifest, manifestOffset);
  return manifest;
}

/** @throws UserError `invalid-snapshot`. */
export function parseHeader(text: string): Header {
  return parseHeaderFields(parseJson(text, "header"), "header");
}

function parseJson(text: string, what: string): Json {
  try {
    return recordOf(JSON.parse(text), what);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError("invalid-snapshot", `the ${what} is not JSON`, { cause: error }); // too deep is a RangeError
  }
}

function parseHeaderFields(json: Json, at: string): Header {
  if (json["formatVersion"] !== 1) {
    const version = typeof json["formatVersion"] === "number" ? String(json["formatVersion"]) : "unknown";
    throw new UserError("invalid-snapshot", `the snapshot has format version ${version}; this program reads version 1`);
  }
  const name = stringAt(json, "name", at);
  if (parseSnapshotName(name) === undefined) bad(`${at}.name`, "is no date");
  const tool = recordOf(json["tool"], `${at}.tool`);
  return {
    formatVersion: 1,
    runId: stringAt(json, "runId", at),
    name,
    namespace: stringAt(json, "namespace", at),
    release: stringAt(json, "release", at),
    tool: { name: stringAt(tool, "name", `${at}.tool`), version: stringAt(tool, "version", `${at}.tool`) },
  };
}

function parseInstance(value: unknown, at: string): InstanceEntry {
  const json = recordOf(value, at);
  const storage = pathAt(json, "storage", at, 1);
  const instance = pathAt(json, "instance", at, 1);
  const folder = pathAt(json, "folder", at, 2);
  const attempt = /^~([2-9]|[1-9]\d{1,3})$/;
  const rest = folder.startsWith(`${storage}/${instance}`) ? folder.slice(storage.length + instance.length + 1) : "?";
  if (rest !== "" && !attempt.test(rest)) bad(`${at}.folder`, "is not the instance's folder");
  return {
    storage,
    instance,
    folder,
    serverVersion: stringAt(json, "serverVersion", at),
    startedAt: stringAt(json, "startedAt", at),
    finishedAt: stringAt(json, "finishedAt", at),
    counts: countsOf(json["counts"], `${at}.counts`),
    warnings: listAt(json, "warnings", at).map((each) => stringOf(each, `${at}.warnings`)),
    facts: json["facts"] as JsonValue, // whatever JSON.parse gives; the driver checks it
    streams: listAt(json, "streams", at).map((each, index) => parseStream(each, `${at}.streams[${index}]`)),
  };
}

function parseStream(value: unknown, at: string): StreamEntry {
  const json = recordOf(value, at);
  const encoding = json["encoding"];
  if (encoding !== "identity" && encoding !== "gzip") return bad(`${at}.encoding`, "is unknown");
  const witness = recordOf(json["witness"], `${at}.witness`);
  const by = witness["by"];
  if (by !== "pod" && by !== "protocol") return bad(`${at}.witness.by`, "is unknown");
  const stream: StreamEntry = {
    name: pathAt(json, "name", at, 64),
    encoding,
    plain: digestOfJson(json["plain"], `${at}.plain`),
    stored: digestOfJson(json["stored"], `${at}.stored`),
    witness: { by, ...digestOfJson(witness, `${at}.witness`) },
    segments: listAt(json, "segments", at).map((each, index) => parseSegment(each, `${at}.segments[${index}]`)),
  };
  if (stream.segments.length === 0) bad(`${at}.segments`, "is empty");
  const total = stream.segments.reduce((sum, segment) => sum + segment.bytes, 0);
  if (total !== stream.stored.bytes) bad(`${at}.segments`, "do not add up to the stream's size");
  for (const digest of encoding === "identity" ? [stream.plain, stream.witness] : [stream.witness]) {
    if (digest.bytes !== stream.stored.bytes || digest.sha256 !== stream.stored.sha256) bad(at, "contradicts itself");
  }
  return stream;
}

function parseSegment(value: unknown, at: string): Segment {
  const json = recordOf(value, at);
  return {
    offset: sizeAt(json, "offset", at),
    length: sizeAt(json, "length", at, 128 * 1024 * 1024),
    sha256: hashAt(json, "sha256", at),
    bytes: sizeAt(json, "bytes", at, 64 * 1024 * 1024),
  };
}

function parseDiscarded(value: unknown, at: string): Manifest["discarded"][number] {
  return { ...parseSegment(value, at), path: pathAt(recordOf(value, at), "path", at, 64) };
}

function parseFailure(value: unknown, at: string): Manifest["failures"][number] {
  const json = recordOf(value, at);
  return {
    storage: stringAt(json, "storage", at),
    instance: stringAt(json, "instance", at),
    reason: stringAt(json, "reason", at),
  };
}

/** Two entries of one path would overwrite each other when the file is unpacked by hand; also on file systems that do not
 *  tell upper from lower case. */
function checkPaths(manifest: Manifest): void {
  const seen = new Set<string>(["header.json", "manifest.json"]);
  const add = (path: string) => {
    const folded = path.toLowerCase();
    if (seen.has(folded)) bad("instances", `name "${path}" twice`);
    seen.add(folded);
  };
  for (const instance of manifest.instances) {
    for (const stream of instance.streams) {
      const paths = stream.segments.map((_, index) => entryPath(instance.folder, stream, index));
      for (const path of paths) add(path);
    }
  }
  for (const segment of manifest.discarded) add(segment.path);
  const keys = manifest.instances.map((each) => `${each.storage}/${each.instance}`);
  if (new Set(keys).size !== keys.length) bad("instances", "name an instance twice");
}

function checkCover(manifest: Manifest, manifestOffset: number): void {
  let end = 0;
  for (const segment of segmentsInFileOrder(manifest)) {
    if (segment.offset !== end) bad("segments", `leave a gap or overlap at byte ${Math.min(end, segment.offset)}`);
    end = segment.offset + segment.length;
  }
  if (end !== manifestOffset || manifest.headerSegment.offset !== 0) bad("segments", "do not reach up to the manifest");
  for (const stream of manifest.instances.flatMap((each) => each.streams)) {
    const sorted = stream.segments.every(
      (each, index) => index === 0 || each.offset > (stream.segments[index - 1]?.offset ?? 0),
    );
    if (!sorted) bad("segments", `of stream "${stream.name}" are out of order`);
  }
}

export function segmentsInFileOrder(manifest: Manifest): readonly Segment[] {
  const streams = manifest.instances.flatMap((instance) => instance.streams.flatMap((stream) => stream.segments));
  return [manifest.headerSegment, ...streams, ...manifest.discarded].sort((a, b) => a.offset - b.offset);
}

function bad(at: string, what: string): never {
  throw new UserError("invalid-snapshot", `the manifest is invalid: ${at} ${what}`);
}

function recordOf(value: unknown, at: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return bad(at, "is no object");
  return value as Json; // checked above
}

function listAt(json: Json, key: string, at: string): readonly unknown[] {
  const value = json[key];
  return Array.isArray(value) ? value : bad(`${at}.${key}`, "is no list");
}

function stringOf(value: unknown, at: string): string {
  return typeof value === "string" && value.length <= 10_000 ? value : bad(at, "is no text");
}

function stringAt(json: Json, key: string, at: string): string {
  return stringOf(json[key], `${at}.${key}`);
}

function booleanAt(json: Json, key: string, at: string): boolean {
  const value = json[key];
  return typeof value === "boolean" ? value : bad(`${at}.${key}`, "is neither true nor false");
}

function sizeAt(json: Json, key: string, at: string, limit = Number.MAX_SAFE_INTEGER): number {
  const value = json[key];
  const isSize = typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= limit;
  return isSize ? value : bad(`${at}.${key}`, "is no size");
}

function hashAt(json: Json, key: string, at: string): string {
  const value = stringAt(json, key, at);
  return /^[0-9a-f]{64}$/.test(value) ? value : bad(`${at}.${key}`, "is no SHA-256");
}

function digestOfJson(value: unknown, at: string): Digest {
  const json = recordOf(value, at);
  return { bytes: sizeAt(json, "bytes", at), sha256: hashAt(json, "sha256", at) };
}

/** Parts of letters that are safe in every file system, none of them "." or "..". */
function pathAt(json: Json, key: string, at: string, mostParts: number): string {
  const value = stringAt(json, key, at);
  const parts = value.split("/");
  const isSafe = parts.every((part) => /^[A-Za-z0-9_%=@+~-][A-Za-z0-9._%=@+~-]{0,799}$/.test(part));
  return isSafe && parts.length <= mostParts ? value : bad(`${at}.${key}`, "is no name");
}

function countsOf(value: unknown, at: string): Readonly<Record<string, number>> {
  const json = recordOf(value, at);
  return Object.fromEntries(Object.keys(json).map((key) => [key, sizeAt(json, key, at)]));
}
