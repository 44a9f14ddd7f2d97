/** Rounds of create, damage and restore with the built program in production-kaa, for tests of what its storages may hold and do. */
import { ListObjectsV2Command, NoSuchBucket, S3Client } from "@aws-sdk/client-s3";
import { expect } from "vitest";
import { bedEnvironment, program, type Ran, type RunOptions } from "./bed.ts";

export const namespace = "production-kaa";
const production = ["-n", namespace];

/** The names of all objects in the bucket of snapshots, asked of S3 itself. */
export async function published(): Promise<readonly string[]> {
  const env = bedEnvironment();
  const client = new S3Client({
    endpoint: env["AWS_ENDPOINT_URL"] ?? "",
    region: env["AWS_REGION"] ?? "us-east-1",
    forcePathStyle: true,
    credentials: {
      accessKeyId: env["AWS_ACCESS_KEY_ID"] ?? "",
      secretAccessKey: env["AWS_SECRET_ACCESS_KEY"] ?? "",
    },
  });
  try {
    const page = await client.send(new ListObjectsV2Command({ Bucket: `storage-backup--${namespace}` }));
    return (page.Contents ?? []).map(({ Key = "" }) => Key);
  } catch (error) {
    if (error instanceof NoSuchBucket) return [];
    throw error;
  } finally {
    client.destroy();
  }
}

export function create(storages: string, options: RunOptions = {}): Promise<Ran> {
  return program(["create", ...production, "--storage", storages, "-o", "name"], options);
}

/** A create that must work.
 *  @returns the name of its snapshot, which verify has proved. */
export async function snapshotOf(storages: string, options: RunOptions = {}): Promise<string> {
  return await proved(await create(storages, options));
}

/** @returns the name of the snapshot that this run has published, and that verify has proved. */
export async function proved(created: Ran): Promise<string> {
  expect(created.code, created.stderr).toBe(0);
  const date = created.stdout.trim();
  const verified = await program(["verify", date, ...production]);
  expect(verified.code, verified.stderr).toBe(0);
  return date;
}

/** A create that must fail: with this exit code and these words, and nothing is published by it. */
export async function refused(storages: string, code: number, says: RegExp, options: RunOptions = {}): Promise<void> {
  const before = await published();
  const ran = await create(storages, options);
  expect(ran.code, ran.stderr).toBe(code);
  expect(ran.stderr).toMatch(says);
  expect(ran.stderr).toContain("no snapshot was published");
  expect(ran.stderr).not.toMatch(/\n\s+at /);
  expect(await published()).toEqual(before);
}

export function restore(date: string, storages: string): Promise<Ran> {
  return program(["restore", "--date", date, ...production, "--storage", storages, "--yes"]);
}

export async function restored(date: string, storages: string): Promise<void> {
  const ran = await restore(date, storages);
  expect(ran.code, ran.stderr).toBe(0);
}

/** The snapshot's manifest. */
export async function described(date: string): Promise<string> {
  const ran = await program(["describe", date, ...production, "-o", "json"]);
  expect(ran.code, ran.stderr).toBe(0);
  return ran.stdout;
}
