/** The S3 repository in which the engine keeps its snapshots. */
import { UserError } from "../../base/errors.ts";
import type { Context } from "../driver.ts";
import { ApiError, type SearchApi } from "./api.ts";
import { discardRunning, whenIdle } from "./idle.ts";

export const endpointVariable = "OPENDISTRO_S3_ENDPOINT";

export interface Place {
  readonly bucket: string;
  /** Folder in the bucket: "opendistro/production-kaa/kaa-opendistro-es". */
  readonly basePath: string;
}

/** Registers a repository under a name, when the engine is no more at work in one of that name. Nothing is written when it
 *  is read-only; in another one the snapshots that a run which died has left running are deleted.
 *  @throws UserError `object-store` when the nodes cannot reach it, `storage-not-ready` when it stays in use. */
export async function register(
  api: SearchApi,
  repository: { readonly name: string; readonly place: Place; readonly client: string; readonly isReadOnly: boolean },
  context: Context,
): Promise<void> {
  const { name, place, client, isReadOnly } = repository;
  const settings = {
    bucket: place.bucket,
    base_path: place.basePath,
    client,
    readonly: isReadOnly,
    ...(client !== "default" && serviceOf(context)),
    // OpenSearch 3 asks for KMS by default, which few other stores have.
    ...(api.distribution === "opensearch" && { server_side_encryption_type: "bucket_default" }),
  };
  try {
    await whenIdle({ api, repository: name, context }, async (limited) => {
      if (!isReadOnly) await discardRunning(limited, name);
      await limited.call("PUT", `/_snapshot/${name}?verify=${!isReadOnly}`, { type: "s3", settings });
    });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    await remove(api, name); // a repository that cannot be verified stays registered
    throw new UserError("object-store", `Open Distro cannot use bucket "${place.bucket}": ${error.message}`, {
      cause: error,
      hints: ["its pods may need another address for S3 than we do: --opendistro-endpoint URL"],
    });
  }
}

/** The engine wants endpoint and addressing style in the same place. Absent for AWS. */
function serviceOf({ location, credentials }: Context): Readonly<Record<string, string | boolean>> {
  const text = credentials[endpointVariable] ?? location.endpoint;
  if (text === undefined) return { region: location.region };
  const url = new URL(text);
  return { endpoint: url.host, protocol: url.protocol.slice(0, -1), path_style_access: true, region: location.region };
}

/** Forgets a repository; what is in it stays. */
export async function remove(api: SearchApi, name: string): Promise<void> {
  await api.remove(`/_snapshot/${name}`);
}
