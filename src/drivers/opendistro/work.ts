/** What each piece of the driver's work has at hand, and the names it uses. */
import { UserError } from "../../base/errors.ts";
import type { Context, Instance } from "../driver.ts";
import { ApiError, SearchApi } from "./api.ts";
import type { Place } from "./repository.ts";
import { ownPrefix } from "./snapshots.ts";

export const repository = "kaa-backup";
/** Read-only: the snapshot may be another cluster's. */
export const restoreRepository = "kaa-restore";
const tidyMs = 30_000;

export interface Work {
  readonly api: SearchApi;
  readonly instance: Instance;
  readonly context: Context;
}

export async function withApi<T>(
  instance: Instance,
  context: Context,
  work: (api: SearchApi) => Promise<T>,
): Promise<T> {
  const api = await SearchApi.connect(instance, context);
  try {
    return await work(api);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    throw new UserError("storage-failed", `Open Distro: ${error.message}`, { cause: error });
  } finally {
    api.close();
  }
}

/** Cleans up on its own time, for the signal of the work may have fired. What that fails to do the next run does. */
export async function tidy(
  { instance, context }: Work,
  left: string,
  work: (api: SearchApi) => Promise<void>,
): Promise<void> {
  const tidying = { ...context, signal: AbortSignal.timeout(tidyMs) };
  await withApi(instance, tidying, work).catch(() => context.warn(left));
}

export function placeOf({ instance, context }: Work): Place {
  const { bucket } = context.location;
  if (bucket === undefined) throw new UserError("usage", "Open Distro cannot be kept in a directory, only in S3");
  return { bucket, basePath: `opendistro/${context.namespace}/${instance.name}` };
}

/** The name that our snapshot has in the repository. */
export function nameIn(context: Context): string {
  return `${ownPrefix}${context.snapshotName}`;
}
