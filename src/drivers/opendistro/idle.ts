/** A repository that the engine is at work in: nothing of its registration can be changed meanwhile. */
import { setTimeout as pause } from "node:timers/promises";
import { UserError } from "../../base/errors.ts";
import type { Context } from "../driver.ts";
import { ApiError, type SearchApi } from "./api.ts";
import { discard, ownPrefix, snapshotsIn } from "./snapshots.ts";

const pollMs = 1000;
const waitMinutes = 10;

/** Deletes the snapshots of ours that are running in a repository. The lock is held, so the run that began them is dead.
 *  A repository that is not registered has none. */
export async function discardRunning(api: SearchApi, repository: string): Promise<void> {
  for (const { name, state } of await snapshotsIn(api, repository, "_current"))
    if (name.startsWith(ownPrefix) && state === "IN_PROGRESS") await discard(api, repository, name);
}

/** Does `work` as soon as the engine does not refuse it for what is under way in the repository. `work` may be called again
 *  and again; the calls of the `api` it is given end with the wait.
 *  @throws UserError `storage-not-ready` after ten minutes. */
export async function whenIdle(
  { api, repository, context }: { readonly api: SearchApi; readonly repository: string; readonly context: Context },
  work: (api: SearchApi) => Promise<unknown>,
): Promise<void> {
  const limit = AbortSignal.timeout(waitMinutes * 60_000);
  const signal = AbortSignal.any([context.signal, limit]);
  let refusal: unknown;
  try {
    while (!(await wasDone())) await pause(pollMs, undefined, { signal });
  } catch (error) {
    if (context.signal.aborted || !limit.aborted) throw error;
    const says = "a snapshot, a deletion or a restore is under way there";
    const message = `Open Distro's repository "${repository}" is still in use after ${waitMinutes} minutes: ${says}`;
    throw new UserError("storage-not-ready", message, {
      cause: refusal ?? error,
      hints: [
        "GET _snapshot/_status and GET _cat/recovery?active_only tell how far it is; try again when it has ended",
      ],
    });
  }

  async function wasDone(): Promise<boolean> {
    try {
      await work(api.until(limit));
      return true;
    } catch (error) {
      if (!isInUse(error)) throw error;
      if (refusal === undefined) context.warn(`waiting for what Open Distro has under way in "${repository}"`);
      refusal = error;
      return false;
    }
  }
}

/** Source: RepositoriesService.ensureRepositoryNotInUse of Elasticsearch 7.10 and OpenSearch 2, status 500, which comes before
 *  the look at what would change (OpenSearch 3.8 was seen to take a PUT while a snapshot ran); SnapshotsService of
 *  Elasticsearch before 7.8 for the exception. */
function isInUse(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return /repository that is currently used/.test(error.message) || error.type.startsWith("concurrent_snapshot");
}
