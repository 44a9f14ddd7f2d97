/** The chart pbm in a namespace of the bed: installed by real helm as the dependency of an installer chart, with the built image,
 *  and what is seen of its runs from outside. */
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { bedEnvironment, kubectl, program, type Ran } from "./bed.ts";
import { bucketOf, eventually, helm, importImage, installerChart, tryHelm } from "./in-cluster.ts";
import { credentialsOf } from "./natives.ts";

const release = "installer";
/** What the chart calls all that it makes. */
const fullname = `${release}-pbm`;
const secrets = { s3: "kaa-backup-s3", vault: "kaa-backup-vault", opendistro: "kaa-backup-opendistro" };
const records = ["configmap/kaa-backup-status", "configmap/kaa-backup-restores"];

export type Deployment = Awaited<ReturnType<typeof prepareDeployment>>;

/** Secrets for the chart, the image on the node, no bucket, no record of earlier runs. Nothing is installed yet; the caller must
 *  `remove()`.
 *  @param backup `config.backup` of the installation. */
export async function prepareDeployment(namespace: string, backup: object) {
  const here = ["-n", namespace];
  const env = bedEnvironment();
  const bucket = bucketOf(namespace);
  await importImage();
  await bucket.remove();
  await kubectl([...here, "delete", ...records, "--ignore-not-found"]);
  const { VAULT_TOKEN, OPENDISTRO_USERNAME, OPENDISTRO_PASSWORD } = await credentialsOf(namespace);
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = env;
  await keepSecret(namespace, secrets.s3, { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY });
  await keepSecret(namespace, secrets.vault, { token: VAULT_TOKEN });
  await keepSecret(namespace, secrets.opendistro, { username: OPENDISTRO_USERNAME, password: OPENDISTRO_PASSWORD });
  const installer = await installerChart({
    config: {
      backup,
      s3: { existingSecret: secrets.s3, endpoint: env["BED_S3_URL_IN_PODS"] },
      vault: { existingSecret: secrets.vault },
      opendistro: { existingSecret: secrets.opendistro },
    },
  });

  /** The pods of a component, with their phases. */
  async function podsOf(component: string): Promise<readonly { readonly name: string; readonly phase: string }[]> {
    const path = '{range .items[*]}{.metadata.name} {.status.phase}{"\\n"}{end}';
    const labels = `app.kubernetes.io/name=pbm,app.kubernetes.io/component=${component}`;
    const text = await kubectl([...here, "get", "pods", "-l", labels, "-o", `jsonpath=${path}`]);
    return text.split("\n").flatMap((line) => {
      const [name = "", phase = ""] = line.split(" ");
      return name === "" ? [] : [{ name, phase }];
    });
  }

  return {
    bucket,
    fullname,
    podsOf,
    /** @returns what helm tells whoever has installed it. */
    install: () => helm(["install", release, installer, ...here, "--render-subchart-notes"]),
    /** helm upgrade with values on top of those of the installation. */
    upgrade(...values: readonly string[]): Promise<Ran> {
      const set = values.flatMap((value) => ["--set", value]);
      return tryHelm(["upgrade", release, installer, ...here, ...set]);
    },
    /** The snapshots, newest first. */
    async snapshots(): Promise<readonly string[]> {
      const ran = await program(["list", ...here, "-o", "name"]);
      if (ran.code !== 0 && ran.code !== 5) throw new Error(ran.stderr); // 5: no bucket
      return ran.stdout.split("\n").filter((name) => name !== "");
    },
    /** Waits for the end of every backup. */
    async quiet(): Promise<void> {
      await eventually("nothing runs", 150, async () => {
        const pods = await podsOf("backup");
        return pods.some(({ phase }) => phase === "Pending" || phase === "Running") ? undefined : pods;
      });
    },
    /** "REASON NOTE", one a line. */
    async events(): Promise<string> {
      const path = 'jsonpath={range .items[*]}{.reason} {.message}{"\\n"}{end}';
      return await kubectl([...here, "get", "events", "-o", path]);
    },
    async remove(): Promise<void> {
      await tryHelm(["uninstall", release, ...here, "--ignore-not-found", "--wait"]);
      const jobs = ["jobs", "-l", "app.kubernetes.io/name=pbm", "--cascade=foreground"];
      await kubectl([...here, "delete", ...jobs, "--ignore-not-found"]);
      const ours = Object.values(secrets).map((name) => `secret/${name}`);
      await kubectl([...here, "delete", ...ours, ...records, "lease/kaa-backup", "--ignore-not-found"]);
      rmSync(dirname(installer), { recursive: true });
    },
  };
}

async function keepSecret(namespace: string, name: string, stringData: object): Promise<void> {
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name }, stringData };
  await kubectl(["-n", namespace, "apply", "-f", "-"], JSON.stringify(secret));
}
