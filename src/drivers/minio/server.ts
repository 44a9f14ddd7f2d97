/** The MinIO server of an instance: an S3 client whose connections are forwarded to the pod. */
import { S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { messageOf, UserError } from "../../base/errors.ts";
import { runForText, type Target } from "../../cluster/cluster.ts";
import { chooseContainerPort, chooseTarget, readEnvironment } from "../commands.ts";
import type { Context, Instance } from "../driver.ts";
import { podAgent, quickMs, sendRequest } from "../http.ts";
import { addContentMd5, addUtf8Headers } from "./headers.ts";
import { addAnswerLimit } from "./limits.ts";

export const userVariable = "MINIO_ROOT_USER";
export const passwordVariable = "MINIO_ROOT_PASSWORD";

/** Requests at a time: each connection is a forwarded one, and the pod does other work, too. */
export const connections = 8;

export interface Server {
  readonly client: S3Client;
  readonly target: Target;
  readonly signal: AbortSignal;
}

/** Runs `work` with a client. Any pod of a distributed MinIO serves all of it. */
export async function withServer<T>(
  instance: Instance,
  context: Context,
  work: (server: Server) => Promise<T>,
): Promise<T> {
  const pods = instance.pods.filter((pod) => pod.ready).slice(0, 1);
  const target = chooseTarget(
    { ...instance, pods: pods.length > 0 ? pods : instance.pods },
    { variables: /^MINIO_/, name: /minio/ },
  );
  const { port } = chooseContainerPort(target.pod, { names: ["minio-api", "api", "http", "https"], fallback: 9000 });
  const { cluster, signal } = context;
  const tls = await speaksTls(target, port, context);
  const agent = podAgent({ cluster, pod: target.pod, port, tls }, signal, connections);
  const { region, ...credentials } = await loginOf(target, context);
  const client = new S3Client({
    endpoint: "http://localhost",
    region,
    credentials,
    forcePathStyle: true,
    maxAttempts: 4,
    requestHandler: { httpAgent: agent },
    // Servers of 2021 know no other checksum than MD5 and the signature's.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
  addContentMd5(client);
  addUtf8Headers(client);
  addAnswerLimit(client);
  try {
    return await work({ client, target, signal });
  } catch (error) {
    throw explained(error, target);
  } finally {
    client.destroy();
    agent.destroy();
  }
}

/** A server with TLS answers plain requests with 400. */
async function speaksTls(target: Target, port: number, { cluster, signal }: Context): Promise<boolean> {
  const agent = podAgent({ cluster, pod: target.pod, port, tls: false }, signal, 1);
  try {
    const path = "/minio/health/live";
    return (await sendRequest(agent, { method: "GET", path, signal, answerMs: quickMs })).status === 400;
  } finally {
    agent.destroy();
  }
}

async function loginOf(target: Target, context: Context) {
  const names = [
    userVariable,
    passwordVariable,
    "MINIO_ACCESS_KEY",
    "MINIO_SECRET_KEY",
    "MINIO_REGION",
    "MINIO_REGION_NAME",
    "MINIO_SITE_REGION",
  ] as const;
  const inPod = await readEnvironment(context, target, names);
  const accessKeyId = context.credentials[userVariable] ?? inPod[userVariable] ?? inPod.MINIO_ACCESS_KEY;
  const secretAccessKey = context.credentials[passwordVariable] ?? inPod[passwordVariable] ?? inPod.MINIO_SECRET_KEY;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new UserError("credentials", `pod "${target.pod.name}" tells no root user and password of MinIO`, {
      hints: [`give them in ${userVariable} and ${passwordVariable}`],
    });
  }
  const region = inPod.MINIO_SITE_REGION ?? inPod.MINIO_REGION ?? inPod.MINIO_REGION_NAME ?? "us-east-1";
  return { accessKeyId, secretAccessKey, region };
}

/** The version the program in the pod tells; the S3 API tells none. */
export async function versionOf({ target }: Server, context: Context): Promise<string> {
  const command = { script: "minio --version 2>/dev/null | head -n 1", signal: context.signal };
  const text = await runForText(context.cluster, target, command);
  return /version (\S+)/.exec(text)?.[1] ?? "unknown";
}

/** True for an answer with one of these codes. */
export function isS3Error(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof S3ServiceException && codes.includes(error.name);
}

function explained(error: unknown, { pod }: Target): unknown {
  if (error instanceof UserError || !(error instanceof Error)) return error;
  if (!(error instanceof S3ServiceException)) {
    const cause = error.cause instanceof UserError ? error.cause : undefined;
    return cause ?? (error.name === "AbortError" ? error : new UserError("stream-lost", `MinIO: ${messageOf(error)}`));
  }
  const says = `MinIO in pod "${pod.name}": ${error.name}: ${error.message}`;
  const isLogin = /^(InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|ExpiredToken)$/.test(error.name);
  return new UserError(isLogin ? "credentials" : "storage-failed", says, { cause: error });
}
