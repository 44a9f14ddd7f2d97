/** Parses `header.json` and `manifest.json`, which anybody may have written, and checks that they say nothing impossible or
 *  contradictory. `layout.ts` then holds the manifest against the file. Keys of no meaning here are passed over: what a
 *  reader must understand, a later writer names in `requires`. */
import { sameDigest } from "../base/bytes.ts";
import type { JsonValue } from "../base/json.ts";
import { parseSnapshotName } from "../base/snapshot-name.ts";
import { Fields, invalid, textElement } from "./fields.ts";
import { parseJson } from "./json.ts";
import { maxMemberBytes, segmentBytes } from "./limits.ts";
import { entryBase, folderOfEntry, isFolderOf, isFolderPart, isStreamName } from "./path.ts";
import type { Header, InstanceEntry, Manifest, Segment, StreamEntry } from "./toc.ts";

/** What a dump reports of an instance when it is done. */
export type DumpFacts = Pick<InstanceEntry, "serverVersion" | "counts" | "warnings" | "facts">;

/** @throws UserError `invalid-snapshot` naming the place. */
export function parseHeader(content: Uint8Array): Header {
  return headerOf(fieldsOf(content, "header.json"));
}

/** @throws UserError `invalid-snapshot` naming the place. */
export function parseManifest(content: Uint8Array): Manifest {
  const fields = fieldsOf(content, "manifest.json");
  const header = headerOf(fields);
  const manifest: Manifest = {
    ...header,
    requires: fields.list("requires", refuseFeature),
    startedAt: fields.time("startedAt"),
    finishedAt: fields.time("finishedAt"),
    clusterVersion: fields.text("clusterVersion"),
    complete: fields.flag("complete"),
    instances: fields.list("instances", instanceOf),
    failures: fields.list("failures", failureOf),
    headerSegment: segmentOf(fields.any("headerSegment"), "manifest.json.headerSegment"),
    discarded: fields.list("discarded", discardedOf),
  };
  if (parseSnapshotName(header.name)?.toISOString() !== manifest.startedAt) {
    throw fields.refuse("startedAt", "not the time in the snapshot's name");
  }
  if (manifest.complete !== (manifest.failures.length === 0)) {
    throw fields.refuse("complete", "contradicts the list of failures");
  }
  checkNames(manifest, fields);
  return manifest;
}

/** What a dump reported, as it will be read back.
 *  @throws UserError when it could not be. */
export function parseDumpFacts(reported: DumpFacts, place: string): DumpFacts {
  return dumpFactsOf(new Fields(parseJson(Buffer.from(JSON.stringify(reported))), place));
}

function fieldsOf(content: Uint8Array, place: string): Fields {
  let value: JsonValue;
  try {
    value = parseJson(content);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw invalid(place, "not acceptable JSON", error);
  }
  return new Fields(value, place);
}

function headerOf(fields: Fields): Header {
  const formatVersion = fields.any("formatVersion");
  // First of all: nothing else is known to mean what it means in version 1.
  if (formatVersion !== 1) throw fields.refuse("formatVersion", "unknown; a newer version of this program may read it");
  const tool = fields.object("tool");
  return {
    formatVersion,
    runId: fields.line("runId"),
    name: fields.textThat("name", (text) => parseSnapshotName(text) !== undefined, "not the name of a snapshot"),
    namespace: fields.line("namespace"),
    release: fields.line("release"),
    tool: { name: tool.line("name"), version: tool.line("version") },
  };
}

function refuseFeature(value: JsonValue, place: string): string {
  const feature = textElement(value, place);
  const shown = /^[a-z0-9-]{1,64}$/.test(feature) ? `"${feature}"` : "a feature unknown to this one";
  throw invalid(place, `a newer version of this program is needed, one that knows ${shown}`);
}

function instanceOf(value: JsonValue, place: string): InstanceEntry {
  const fields = new Fields(value, place);
  const storage = fields.textThat("storage", isFolderPart, "not the name of a storage");
  const instance = fields.textThat("instance", isFolderPart, "not the name of an instance");
  return {
    storage,
    instance,
    folder: fields.textThat("folder", (text) => isFolderOf({ storage, instance }, text), "not the instance's folder"),
    startedAt: fields.time("startedAt"),
    finishedAt: fields.time("finishedAt"),
    ...dumpFactsOf(fields),
    streams: fields.list("streams", streamOf),
  };
}

function dumpFactsOf(fields: Fields): DumpFacts {
  const counts = fields.object("counts");
  return {
    serverVersion: fields.text("serverVersion"),
    // fromEntries, for assigning to the key "__proto__" would do something else.
    counts: Object.fromEntries(counts.keys.map((key) => [key, counts.count(key)])),
    warnings: fields.list("warnings", textElement),
    facts: fields.any("facts"),
  };
}

function streamOf(value: JsonValue, place: string): StreamEntry {
  const fields = new Fields(value, place);
  const witness = fields.object("witness");
  const stream: StreamEntry = {
    name: fields.textThat("name", isStreamName, "not the name of a stream"),
    encoding: fields.oneOf("encoding", "identity", "gzip"),
    plain: fields.digest("plain"),
    stored: fields.digest("stored"),
    witness: { by: witness.oneOf("by", "pod", "protocol"), ...fields.digest("witness") },
    segments: fields.list("segments", segmentOf),
  };
  if (!sameDigest(stream.witness, stream.stored)) throw fields.refuse("witness", "differs from what is stored");
  if (stream.encoding === "identity" && !sameDigest(stream.plain, stream.stored)) {
    throw fields.refuse("plain", "differs from what is stored");
  }
  if (stream.encoding === "gzip" && stream.stored.bytes === 0)
    throw fields.refuse("stored", "nothing, and that is no gzip");
  const sizes = stream.segments.map((segment) => segment.bytes);
  if (sizes.length === 0) throw fields.refuse("segments", "none");
  if (sizes.length > 1 && sizes.includes(0)) throw fields.refuse("segments", "an empty one among others");
  if (sizes.reduce((sum, bytes) => sum + bytes, 0) !== stream.stored.bytes) {
    throw fields.refuse("segments", "do not add up to what is stored");
  }
  return stream;
}

function segmentOf(value: JsonValue, place: string): Segment {
  const fields = new Fields(value, place);
  return {
    offset: fields.count("offset"),
    length: fields.count("length", maxMemberBytes),
    sha256: fields.sha256("sha256"),
    bytes: fields.count("bytes", segmentBytes),
  };
}

function discardedOf(value: JsonValue, place: string): Manifest["discarded"][number] {
  const isPath = (text: string) => folderOfEntry(text) !== undefined;
  return {
    ...segmentOf(value, place),
    path: new Fields(value, place).textThat("path", isPath, "not a segment's path"),
  };
}

function failureOf(value: JsonValue, place: string): Manifest["failures"][number] {
  const fields = new Fields(value, place);
  return { storage: fields.text("storage"), instance: fields.text("instance"), reason: fields.text("reason") };
}

/** No two entries may have one path, and nothing discarded may lie in the folder of a dump that counts: unpacked by hand,
 *  it would become part of it. */
function checkNames(manifest: Manifest, fields: Fields): void {
  const folders = new Set<string>();
  for (const { storage, instance } of manifest.instances)
    addOnce(folders, `${storage}/${instance}`, fields, "instances");
  const live = new Set(manifest.instances.map((each) => each.folder));
  const bases = new Set<string>();
  for (const { folder, streams } of manifest.instances) {
    for (const stream of streams) addOnce(bases, entryBase(folder, stream), fields, "instances");
  }
  const paths = new Set<string>();
  for (const { path } of manifest.discarded) {
    addOnce(paths, path, fields, "discarded");
    if (live.has(folderOfEntry(path) ?? "")) throw fields.refuse("discarded", `"${path}" lies in the folder of a dump`);
  }
}

function addOnce(known: Set<string>, name: string, fields: Fields, key: string): void {
  if (known.has(name)) throw fields.refuse(key, `"${name}" comes twice`);
  known.add(name);
}
