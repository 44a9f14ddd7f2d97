/** MinIO: every bucket with its settings and every version of every object, through its S3 API. Restoring makes the
 *  buckets hold exactly the snapshot's objects. docs/storages/minio.md has the details. */
import { Meter } from "../base/bytes.ts";
import { UserError, withEffect } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import {
  type Backup,
  type Context,
  type Driver,
  type DumpOutput,
  type DumpResult,
  type Inspection,
  type Instance,
  pathPart,
  type RestorePlan,
  type RestoreResult,
} from "./driver.ts";
import { makeBucket, removeBucket } from "./minio/buckets.ts";
import { bucketArchive } from "./minio/dump.ts";
import { fillBucket } from "./minio/fill.ts";
import { Leftovers, versionsOf } from "./minio/listing.ts";
import { passwordVariable, userVariable, versionOf, withServer } from "./minio/server.ts";
import { applySettings, type BucketSettings, parseSettings, settingsOf } from "./minio/settings.ts";
import { bucketsToReplace, isNamedForSnapshots, leftOut, sortedBuckets } from "./minio/snapshots.ts";

const driver: Driver = {
  storage: "minio",
  title: "MinIO",
  canUseDirectory: true,
  credentialVariables: [userVariable, passwordVariable],
  selectors: [{ "app.kubernetes.io/name": "minio" }, { app: "minio" }],
  helpers: [{ "app.kubernetes.io/component": "console" }],
  inspect,
  dump,
  plan,
  restore,
};
export default driver;

async function inspect(instance: Instance, context: Context): Promise<Inspection> {
  return await withServer(instance, context, async (server) => {
    const buckets = await sortedBuckets(server, context.location);
    return {
      serverVersion: await versionOf(server, context),
      estimatedBytes: 0, // only listing every object would tell
      contents: buckets.data,
      warnings: leftOut(buckets),
    };
  });
}

async function dump(instance: Instance, output: DumpOutput, context: Context): Promise<DumpResult> {
  return await withServer(instance, context, async (server) => {
    const buckets: BucketSettings[] = [];
    const counts = { objects: 0, deleteMarkers: 0, vanished: 0 };
    const sorted = await sortedBuckets(server, context.location);
    for (const name of sorted.data) {
      const settings = await settingsOf(server, name);
      buckets.push(settings);
      const meter = new Meter();
      const archive = bucketArchive(server, { name, isVersioned: settings.versioning !== "" }, counts);
      await output.stream(streamName(name), {
        encoding: "identity",
        bytes: (async function* () {
          for await (const chunk of archive) {
            meter.update(chunk);
            yield chunk;
          }
        })(),
        finish: async () => {
          const digest = meter.digest();
          return { plain: digest, stored: digest, by: "protocol" };
        },
      });
    }
    const { objects, deleteMarkers, vanished } = counts;
    return {
      counts: { buckets: buckets.length, objects, "delete markers": deleteMarkers },
      warnings: [
        "each object is as it was when it was read; users and policies of MinIO itself are not dumped",
        ...leftOut(sorted),
        ...(vanished > 0 ? [`${vanished} objects were deleted while the dump ran, and are not in it`] : []),
      ],
      facts: JSON.parse(JSON.stringify({ buckets })) as JsonValue,
    };
  });
}

function streamName(bucket: string): string {
  return `buckets/${pathPart(bucket)}.tar`;
}

async function plan(instance: Instance, backup: Backup, context: Context): Promise<RestorePlan> {
  return await withServer(instance, context, async (server) => {
    const wanted = parseSettings(backup.facts).map(({ name }) => name);
    const existing = await bucketsToReplace(server, context.location, wanted);
    const unusable = wanted.filter((name) => isNamedForSnapshots(name, context.location));
    return {
      drops: existing.data.map((name) => `bucket ${name} with all its objects`),
      creates: wanted.map((name) => `bucket ${name}`),
      keeps: ["users and policies of MinIO itself, and buckets of snapshots"],
      warnings: ["versions keep their order and content, but get new ids and dates", ...leftOut(existing)],
      obstacles: unusable.map((name) => `bucket ${name} of the snapshot bears the name of one that keeps snapshots`),
    };
  });
}

async function restore(instance: Instance, backup: Backup, context: Context): Promise<RestoreResult> {
  const buckets = parseSettings(backup.facts);
  const jobs = buckets.map((settings) => {
    const stream = backup.streams.find((each) => each.name === streamName(settings.name));
    if (stream === undefined)
      throw new UserError("invalid-snapshot", `the snapshot lacks minio's bucket "${settings.name}"`);
    return { settings, stream };
  });
  const done: string[] = [];
  try {
    return await withServer(instance, context, async (server) => {
      const counts = { buckets: buckets.length, objects: 0, "delete markers": 0 };
      const leftovers = new Map<string, Leftovers>();
      const names = buckets.map(({ name }) => name);
      for (const name of (await bucketsToReplace(server, context.location, names)).data)
        leftovers.set(name, new Leftovers(await removeBucket(server, name)));
      for (const { settings, stream } of jobs) {
        await makeBucket(server, settings);
        const here = leftovers.get(settings.name);
        await fillBucket(server, settings.name, stream.read(), (record) => here?.isThere(record) === true);
        await applySettings(server, settings);
        for await (const { isDeleteMarker } of versionsOf(server, settings.name))
          counts[isDeleteMarker ? "delete markers" : "objects"] += 1;
        done.push(settings.name);
      }
      const warnings = [...leftovers.values()]
        .flatMap((each) => each.unwanted())
        .map(({ says }) => `locked, so not removed: ${says}`);
      return { counts, warnings };
    });
  } catch (error) {
    throw withEffect(error, `restored: ${done.join(", ") || "none"}; other buckets may be empty or incomplete`);
  }
}
