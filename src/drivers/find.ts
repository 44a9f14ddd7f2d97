/** Finds the instances of a storage among a namespace's pods. */
import type { Pod } from "../cluster/cluster.ts";
import type { Driver, Instance, Selectors } from "./driver.ts";

/** @param releasePrefix only pods of Helm releases whose name begins so; "" for all. */
export function findInstances(driver: Driver, pods: readonly Pod[], releasePrefix: string): readonly Instance[] {
  const ours = pods
    .filter((pod) => pod.phase !== "Succeeded" && pod.phase !== "Failed" && isOf(pod, releasePrefix))
    .filter((pod) => driver.helpers?.some((each) => matches(pod, each)) !== true);
  const servers = new Set(
    [...Map.groupBy(driver.selectors, chartName).values()].flatMap((selectors) => {
      const deciding = selectors.find((selector) => ours.some((pod) => matches(pod, selector)));
      return deciding === undefined ? [] : ours.filter((pod) => matches(pod, deciding));
    }),
  );
  return byOwner(driver, [...servers]);
}

/** The chart whose pods a selector is for: both eras of the charts tell its name, each under a label of its own. */
function chartName(selector: Selectors[number]): string {
  return (selector["app.kubernetes.io/name"] ?? selector["app"] ?? "").replace(/^\*/, "");
}

function matches(pod: Pod, selector: Selectors[number]): boolean {
  return Object.entries(selector).every(([key, value]) => isValue(pod.labels[key], value));
}

/** The Helm release a pod belongs to, by the labels of both eras of the charts. */
export function releaseOf(pod: Pod): string {
  return pod.labels["app.kubernetes.io/instance"] ?? pod.labels["release"] ?? "";
}

function isOf(pod: Pod, releasePrefix: string): boolean {
  return releasePrefix === "" || releaseOf(pod).startsWith(releasePrefix) || pod.name.startsWith(`${releasePrefix}-`);
}

function isValue(label: string | undefined, wanted: string): boolean {
  return wanted.startsWith("*") ? label?.endsWith(wanted.slice(1)) === true : label === wanted;
}

/** Pods of one StatefulSet are one instance. Jobs' pods (hooks, backups) have labels of the chart, too, but no server. */
function byOwner(driver: Driver, pods: readonly Pod[]): readonly Instance[] {
  const owners = new Map<string, Pod[]>();
  for (const pod of pods.filter((each) => each.labels["job-name"] === undefined)) {
    const name = driver.instanceOf === undefined ? pod.owner : driver.instanceOf(pod);
    if (name !== undefined) owners.set(name, [...(owners.get(name) ?? []), pod]);
  }
  return [...owners]
    .map(([name, members]) => ({ storage: driver.storage, name, pods: members }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Pairs an instance of a snapshot with one that runs now: the same name, the same name but for the release in front, or
 *  the only one there and here.
 *  @returns undefined when none, or more than one, could be meant. */
export function matchInstance(
  name: string,
  release: string,
  targets: readonly Instance[],
  onlyOne: boolean,
): Instance | undefined {
  const same = targets.find((target) => target.name === name);
  if (same !== undefined) return same;
  const bare = withoutRelease(name, release);
  const alike = targets.filter((target) => {
    const [pod] = target.pods;
    return pod !== undefined && withoutRelease(target.name, releaseOf(pod)) === bare;
  });
  if (alike.length === 1) return alike[0];
  return onlyOne && targets.length === 1 ? targets[0] : undefined;
}

function withoutRelease(name: string, release: string): string {
  return release !== "" && name.startsWith(`${release}-`) ? name.slice(release.length + 1) : name;
}
