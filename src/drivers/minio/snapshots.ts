/** Which buckets keep snapshots: they are not backed up into them, nor emptied by a restore. */
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { parseSnapshotFileName } from "../../base/snapshot-name.ts";
import type { Location } from "../driver.ts";
import { bucketNames } from "./listing.ts";
import type { Server } from "./server.ts";

/** Names of buckets, in order. */
export interface SortedBuckets {
  readonly data: readonly string[];
  readonly ofSnapshots: readonly string[];
}

/** True for the bucket of this run, and for one that is named as buckets of snapshots are. */
export function isNamedForSnapshots(name: string, location: Location): boolean {
  return name === location.bucket || name.startsWith("storage-backup--");
}

/** Sorts the buckets by their names, and by what they hold: a run that keeps its snapshots elsewhere knows no other sign. */
export async function sortedBuckets(server: Server, location: Location): Promise<SortedBuckets> {
  const data: string[] = [];
  const ofSnapshots: string[] = [];
  for (const name of await bucketNames(server)) {
    const isForSnapshots = isNamedForSnapshots(name, location) || (await holdsSnapshots(server, name));
    (isForSnapshots ? ofSnapshots : data).push(name);
  }
  return { data, ofSnapshots };
}

/** Sorts them for a restore. A bucket that the snapshot has is one of data, unless its name says otherwise. */
export async function bucketsToReplace(
  server: Server,
  location: Location,
  inSnapshot: readonly string[],
): Promise<SortedBuckets> {
  const { data, ofSnapshots } = await sortedBuckets(server, location);
  const isData = (name: string) => inSnapshot.includes(name) && !isNamedForSnapshots(name, location);
  return {
    data: [...data, ...ofSnapshots.filter(isData)].sort(),
    ofSnapshots: ofSnapshots.filter((name) => !isData(name)),
  };
}

/** Said aloud, as a bucket of data may look so by chance. */
export function leftOut({ ofSnapshots }: SortedBuckets): readonly string[] {
  return ofSnapshots.length > 0 ? [`left out, as buckets of snapshots are: ${ofSnapshots.join(", ")}`] : [];
}

/** Looks at the first page of the bucket's root, where names of snapshots, which begin with digits, come early. */
async function holdsSnapshots({ client, signal }: Server, bucket: string): Promise<boolean> {
  const command = new ListObjectsV2Command({ Bucket: bucket, Delimiter: "/", EncodingType: "url" });
  const { Contents = [] } = await client.send(command, { abortSignal: signal });
  return Contents.some(({ Key = "" }) => parseSnapshotFileName(Key) !== undefined);
}
