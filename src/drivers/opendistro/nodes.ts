/** What every master and data node needs to reach S3: the plugin, and our keys in its keystore. The keystore of a container
 *  is lost with the container, so it is looked after at each run. */
import { messageOf, UserError } from "../../base/errors.ts";
import { runForText } from "../../cluster/cluster.ts";
import { field } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { containerOf, type SearchApi } from "./api.ts";

/** Of the plugin's S3 clients, the one that is ours; the operator's own settings of others stay as they are. */
export const ownClient = "kaa_backup";

export const keyVariables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] as const;

const keystoreScript = `tool=
for each in elasticsearch-keystore opensearch-keystore /usr/share/elasticsearch/bin/elasticsearch-keystore \\
  /usr/share/opensearch/bin/opensearch-keystore /opt/bitnami/elasticsearch/bin/elasticsearch-keystore; do
  command -v "$each" >/dev/null && tool=$each && break
done
[ -n "$tool" ] || { echo 'no elasticsearch-keystore in the container' >&2; exit 3; }
put() { printf '%s' "$2" | "$tool" add --stdin --force "s3.client.$client.$1" >&2; }
client=$1
put access_key "$KAA_ACCESS_KEY" && put secret_key "$KAA_SECRET_KEY" || exit
if [ -n "$KAA_SESSION_TOKEN" ]; then put session_token "$KAA_SESSION_TOKEN"
elif "$tool" list | grep -qx "s3.client.$client.session_token"; then "$tool" remove "s3.client.$client.session_token" >&2; fi`;

/** @throws UserError `storage-not-ready` naming the nodes without the plugin. */
export async function requirePlugin(api: SearchApi): Promise<void> {
  const nodes = Object.values((field(await api.call("GET", "/_nodes/plugins"), "nodes") as object | undefined) ?? {});
  const lacking = nodes.filter((node) => {
    const roles = field(node, "roles");
    const isStoring =
      !Array.isArray(roles) || roles.some((role) => /^(data|master|cluster_manager)/.test(String(role)));
    const plugins = field(node, "plugins");
    return isStoring && !(Array.isArray(plugins) && plugins.some((each) => field(each, "name") === "repository-s3"));
  });
  if (lacking.length === 0) return;
  const names = lacking.map((node) => String(field(node, "name"))).join(", ");
  throw new UserError("storage-not-ready", `these nodes lack the plugin repository-s3: ${names}`, {
    hints: ["in every node's image: bin/elasticsearch-plugin install --batch repository-s3"],
  });
}

/** Puts our S3 keys into the keystore of each node and has them read.
 *  @returns the name of the S3 client to use: the nodes' own when we have no keys to give. */
export async function prepareNodes(api: SearchApi, instance: Instance, context: Context): Promise<string> {
  const [id, secret, token] = keyVariables.map((name) => context.credentials[name]);
  if (id === undefined || secret === undefined) {
    context.warn(
      "no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to give to the nodes: they use their own S3 credentials",
    );
    return "default";
  }
  const secrets = { KAA_ACCESS_KEY: id, KAA_SECRET_KEY: secret, KAA_SESSION_TOKEN: token ?? "" };
  await Promise.all(
    storingPods(instance).map(async (pod) => {
      const command = { script: keystoreScript, args: [ownClient], secrets, signal: context.signal };
      try {
        await runForText(context.cluster, { pod, container: containerOf(pod).name }, command);
      } catch (error) {
        context.signal.throwIfAborted();
        throw new UserError("storage-not-ready", `cannot put the S3 keys into the keystore: ${messageOf(error)}`, {
          cause: error,
          hints: [`add s3.client.${ownClient}.access_key and .secret_key to the keystore of each node yourself`],
        });
      }
    }),
  );
  const reloaded = await api.call("POST", "/_nodes/reload_secure_settings", {});
  for (const node of Object.values((field(reloaded, "nodes") as object | undefined) ?? {})) {
    const failure = field(field(node, "reload_exception"), "reason");
    if (failure !== undefined)
      throw new UserError(
        "storage-not-ready",
        `node "${String(field(node, "name"))}" cannot read its keystore: ${failure}`,
      );
  }
  const failed = field(field(reloaded, "_nodes"), "failed");
  if (failed !== 0 && failed !== undefined)
    throw new UserError(
      "storage-not-ready",
      `${String(failed)} nodes did not answer when they were to read their keystore`,
    );
  return ownClient;
}

function storingPods(instance: Instance) {
  return instance.pods.filter((pod) => pod.phase === "Running" && pod.labels["role"] !== "client");
}
