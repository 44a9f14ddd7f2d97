/** Buckets that go and come at a restore, while services may make them again or write into them. */
import { setTimeout as pause } from "node:timers/promises";
import { DeleteBucketCommand } from "@aws-sdk/client-s3";
import { UserError } from "../../base/errors.ts";
import { emptyBucket, type Locked } from "./listing.ts";
import { isS3Error, type Server } from "./server.ts";
import { type BucketSettings, createBucket } from "./settings.ts";

const emptyings = 10;
const busyPauseMs = 500;

/** @returns the objects that are locked; their bucket stays. */
export async function removeBucket(server: Server, bucket: string): Promise<readonly Locked[]> {
  for (let n = 1; ; n++) {
    try {
      const locked = await emptyBucket(server, bucket);
      if (locked.length > 0) return locked;
      await server.client.send(new DeleteBucketCommand({ Bucket: bucket }), { abortSignal: server.signal });
      return [];
    } catch (error) {
      // Somebody has put something into it meanwhile, or the server was busy; it is emptied again, but not for ever.
      const isBusy = isS3Error(error, "SlowDown", "SlowDownWrite", "InternalError", "ServiceUnavailable");
      if (!(isBusy || isS3Error(error, "BucketNotEmpty")) || n === emptyings) throw error;
      if (isBusy) await pause(busyPauseMs * n, undefined, { signal: server.signal });
    }
  }
}

const makings = 3;

/** Makes a bucket that can take the versions of the snapshot. One that a service has made again meanwhile, without the lock
 *  that the snapshot's has, is removed first: a lock cannot be added.
 *  @throws UserError `storage-failed` when the service makes it again and again. */
export async function makeBucket(server: Server, settings: BucketSettings): Promise<void> {
  for (let n = 1; !(await createBucket(server, settings)); n++) {
    const { name } = settings;
    if (n === makings)
      throw new UserError("storage-failed", `bucket "${name}" needs a lock, and a service makes it again without one`, {
        hints: ["stop the services that make buckets, and repeat the restore"],
      });
    await removeBucket(server, name);
  }
}
