/** What a Vault holds, by name and number; never a value. */
import { isOutcome } from "../../base/errors.ts";
import { field } from "../commands.ts";
import type { VaultApi } from "./api.ts";

/** More secrets than this are not counted. */
const countLimit = 20_000;

/** Where secrets engines are mounted; empty when the token may not know. */
export async function contentsOf(api: VaultApi): Promise<readonly string[]> {
  return Object.keys((await listing(api, "sys/mounts")) ?? {}).filter((name) => !builtIn.has(name));
}

const builtIn = new Set(["sys/", "identity/", "cubbyhole/"]);

/** Numbers of what the token may list. Secrets are those of the kv engines. */
export async function countsOf(
  api: VaultApi,
): Promise<{ readonly counts: Readonly<Record<string, number>>; readonly warnings: readonly string[] }> {
  const mounts = await listing(api, "sys/mounts");
  const auths = await listing(api, "sys/auth");
  const policies = (await listing(api, "sys/policies/acl?list=true"))?.["keys"];
  const secrets = mounts === undefined ? undefined : await countSecrets(api, mounts);
  const found: readonly (readonly [string, number | undefined])[] = [
    ["mounts", mounts && Object.keys(mounts).length],
    ["auth methods", auths && Object.keys(auths).length],
    ["policies", Array.isArray(policies) ? policies.length : undefined],
    ["secrets", secrets],
  ];
  const counts = found.filter((each): each is readonly [string, number] => each[1] !== undefined);
  const missing = found.filter(([, count]) => count === undefined).map(([unit]) => unit);
  return {
    counts: Object.fromEntries(counts),
    warnings:
      missing.length === 0 ? [] : [`not counted, for want of rights or because of their number: ${missing.join(", ")}`],
  };
}

/** The `data` of an answer, or undefined when the token may not see it. */
async function listing(api: VaultApi, path: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  try {
    const data = field(await api.call("GET", path), "data");
    return typeof data === "object" && data !== null ? (data as Record<string, unknown>) : {};
  } catch (error) {
    if (isOutcome(error, "credentials")) return undefined;
    throw error;
  }
}

async function countSecrets(api: VaultApi, mounts: Readonly<Record<string, unknown>>): Promise<number | undefined> {
  const folders = Object.entries(mounts).flatMap(([mount, about]) => {
    if (field(about, "type") !== "kv") return [];
    const encoded = encodePath(mount);
    return [field(field(about, "options"), "version") === "2" ? `${encoded}metadata/` : encoded];
  });
  let count = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const listed = await listing(api, `${folder}?list=true`);
    if (listed === undefined) return undefined;
    const keys = Array.isArray(listed["keys"]) ? listed["keys"].map(String) : [];
    for (const key of keys) {
      if (key.endsWith("/")) folders.push(`${folder}${encodePath(key)}`);
      else count += 1;
    }
    if (count > countLimit) return undefined;
  }
  return count;
}

function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
