/** The program in the cluster: its image on the bed's node, an installer chart that depends on ours, and what the store and
 *  the node say of it. */
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  AbortMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  HeadBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectVersionsCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { bedEnvironment, kubectl, type Ran, root, run } from "./bed.ts";

/** Puts the built image on the node, where the chart's own values then find it. */
export async function importImage(): Promise<void> {
  const ran = await run("bash", [`${root}/test/e2e/bed/bed`, "import", `${root}/dist/image.tar`]);
  if (ran.code !== 0) throw new Error(`the image cannot be imported: ${ran.stderr}`);
}

/** An installer chart whose dependency `pbm` is ours, as Kaa's is; with the values of this bed.
 *  @returns its folder. */
export async function installerChart(values: object): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "kaa-chart-"));
  const installer = join(folder, "installer");
  cpSync(`${root}/charts/pbm`, join(folder, "pbm"), { recursive: true });
  mkdirSync(installer);
  const dependency = { name: "pbm", version: "0.x.x", repository: "file://../pbm" };
  const chart = { apiVersion: "v2", name: "kaa", version: "1.0.0", dependencies: [dependency] };
  writeFileSync(join(installer, "Chart.yaml"), JSON.stringify(chart));
  const pbm = { image: { pullPolicy: "Never" }, ...values };
  writeFileSync(join(installer, "values.yaml"), JSON.stringify({ pbm }));
  await helm(["dependency", "build", installer]);
  return installer;
}

/** helm; throws when it fails. */
export async function helm(args: readonly string[]): Promise<string> {
  const ran = await tryHelm(args);
  if (ran.code !== 0) throw new Error(`helm ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

export function tryHelm(args: readonly string[]): Promise<Ran> {
  return run("helm", args);
}

/** Repeats until it gives something. */
export async function eventually<T>(what: string, seconds: number, look: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + seconds * 1000; ; await new Promise((resolve) => setTimeout(resolve, 500))) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > end) throw new Error(`after ${seconds} s still not: ${what}`);
  }
}

/** The S3 server behind the program's back. */
export function bucketOf(namespace: string) {
  const env = bedEnvironment();
  const [accessKeyId = "", secretAccessKey = ""] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(
    (name) => env[name],
  );
  const client = new S3Client({
    region: "us-east-1",
    endpoint: env["AWS_ENDPOINT_URL"] ?? "",
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  const Bucket = `storage-backup--${namespace}`;
  const exists = () =>
    client.send(new HeadBucketCommand({ Bucket })).then(
      () => true,
      (error: { $metadata?: { httpStatusCode?: number } }) => {
        if (error.$metadata?.httpStatusCode === 404) return false;
        throw error;
      },
    );
  const uploads = async () => {
    if (!(await exists())) return [];
    return (await client.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads ?? [];
  };
  return {
    exists,
    openUploads: async () => (await uploads()).length,
    /** With all that is in it. Uploads first: MinIO keeps them for the next bucket of that name. */
    async remove(): Promise<void> {
      if (!(await exists())) return;
      for (const { Key, UploadId } of await uploads())
        await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
      for (;;) {
        const { Versions = [], DeleteMarkers = [] } = await client.send(new ListObjectVersionsCommand({ Bucket }));
        const Objects = [...Versions, ...DeleteMarkers].map(({ Key, VersionId }) => ({ Key: Key ?? "", VersionId }));
        if (Objects.length === 0) break;
        await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
      }
      await client.send(new DeleteBucketCommand({ Bucket }));
    },
  };
}

/** SIGKILL to the program in a pod, from the node: nobody in the cluster is asked. */
export async function killInPod(namespace: string, pod: string): Promise<void> {
  const path = "jsonpath={.status.containerStatuses[0].containerID}";
  const id = (await kubectl(["-n", namespace, "get", "pod", pod, "-o", path])).replace("containerd://", "");
  const socket = bedEnvironment()["BED_CONTAINERD_SOCKET"] ?? "";
  const ran = await run("ctr", ["-a", socket, "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", id]);
  if (ran.code !== 0) throw new Error(ran.stderr);
}
