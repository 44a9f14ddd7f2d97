/** Which snapshots an engine can restore. It says no only after the old indices are deleted, so it is known before. */
import { field } from "../commands.ts";
import type { SearchApi } from "./api.ts";
import { isSecurity } from "./snapshots.ts";

export interface Engine {
  /** Open Distro is Elasticsearch. */
  readonly distribution: "elasticsearch" | "opensearch";
  readonly version: string;
}

/** An index and the engine that it was made by, which an upgrade of the cluster does not change. */
export interface MadeIndex extends Engine {
  readonly index: string;
}

/** Without a distribution the version tells: OpenSearch began at 1 again, and Open Distro never held an Elasticsearch below 6. */
export function engineOf(version: string, distribution?: unknown): Engine {
  const isOpenSearch = distribution === undefined ? (numbersOf(version)?.[0] ?? 9) < 5 : distribution === "opensearch";
  return { distribution: isOpenSearch ? "opensearch" : "elasticsearch", version };
}

/** The engine that we speak to. With `compatibility.override_main_response_version` OpenSearch calls itself 7.10.2; its nodes
 *  do not. */
export async function runningEngine(api: SearchApi): Promise<Engine> {
  const said = engineOf(api.version, api.distribution === "opensearch" ? "opensearch" : "elasticsearch");
  if (said.distribution !== "opensearch" || api.version !== "7.10.2") return said;
  const nodes = Object.values((field(await api.call("GET", "/_nodes/plugins"), "nodes") as object | undefined) ?? {});
  const versions = nodes.map((node) => String(field(node, "version")));
  const [version = api.version] = versions.toSorted((a, b) => compare(numbersOf(a), numbersOf(b)));
  return { ...said, version };
}

/** The index of the oldest line of versions; undefined when there is none. */
export async function oldestIndex(api: SearchApi): Promise<MadeIndex | undefined> {
  const path = "/_all/_settings/index.version.created?flat_settings=true&expand_wildcards=all";
  const made = Object.entries(((await api.find(path)) ?? {}) as Readonly<Record<string, unknown>>)
    .filter(([index]) => !isSecurity(index))
    .flatMap(([index, each]): readonly MadeIndex[] => {
      const id = Number(field(field(each, "settings"), "index.version.created"));
      return id > 0 ? [{ index, ...engineOfId(id) }] : [];
    });
  const [oldest] = made.toSorted((a, b) => (generationOf(a) ?? 0) - (generationOf(b) ?? 0));
  return oldest;
}

/** OpenSearch marks its ids with this bit. Source: Version.MASK of OpenSearch; ids are 7100299 for 7.10.2. */
const openSearchBit = 0x08000000;

function engineOfId(id: number): Engine {
  const digits = id & ~openSearchBit;
  const version = [1_000_000, 10_000, 100].map((unit) => Math.floor(digits / unit) % 100).join(".");
  return engineOf(version, (id & openSearchBit) === 0 ? "elasticsearch" : "opensearch");
}

/** Why the target would refuse a snapshot; nothing when it is not known to.
 *  Sources: RestoreService.validateSnapshotRestorable and Version.minimumIndexCompatibilityVersion of both engines;
 *  OpenSearch#17567 and opendistro-build#805 for later Elasticsearch, whose repositories OpenSearch cannot read. */
export function obstaclesTo(target: Engine, source: Engine, oldest?: MadeIndex): readonly string[] {
  const snapshot = `the snapshot is of ${titleOf(source)}`;
  const [from, to] = [generationOf(source), generationOf(target)];
  if (from === undefined || to === undefined)
    return [`${snapshot}, the target ${titleOf(target)}: a version is not known`];
  const order = compare(numbersOf(source.version), numbersOf(target.version));
  if (source.distribution === target.distribution && order > 0)
    return [`${snapshot}, newer than the target's ${target.version}`];
  if (source.distribution === "opensearch" && target.distribution === "elasticsearch")
    return [`${snapshot}, which Elasticsearch and Open Distro cannot read`];
  if (source.distribution !== target.distribution && compare(numbersOf(source.version), [7, 13]) >= 0)
    return [`${snapshot}, and OpenSearch reads Elasticsearch's up to 7.12`];
  if (to - from > 1) return [`${snapshot}, too old for the target's ${titleOf(target)}`];
  const made = oldest && generationOf(oldest);
  if (oldest === undefined || made === undefined || to - made <= 1) return [];
  return [
    `index "${oldest.index}" was made by ${titleOf(oldest)}, too old for the target's ${titleOf(target)}: reindex it first`,
  ];
}

/** Counts major versions across both lines: OpenSearch 1 is Elasticsearch 7. Each reads its own and the one before. */
function generationOf({ distribution, version }: Engine): number | undefined {
  const major = numbersOf(version)?.[0];
  return major === undefined || distribution === "elasticsearch" ? major : major + 6;
}

function titleOf({ distribution, version }: Engine): string {
  return `${distribution === "opensearch" ? "OpenSearch" : "Elasticsearch"} ${version}`;
}

function numbersOf(version: string): readonly number[] | undefined {
  const found = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(version);
  return found?.slice(1).map((part) => Number(part ?? 0));
}

function compare(a: readonly number[] = [], b: readonly number[] = []): number {
  for (let at = 0; at < 3; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
