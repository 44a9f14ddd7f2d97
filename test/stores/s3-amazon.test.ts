/** A bucket of Amazon S3 itself: no endpoint is given, so region and credentials are what the SDK finds. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { s3Store } from "../../src/stores/s3.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { listed, never } from "./conformance.ts";
import { bucket } from "./places.ts";

let server: FakeS3;

beforeEach(async () => {
  server = await new FakeS3().start();
  server.bucket(bucket);
  vi.stubEnv("AWS_ENDPOINT_URL_S3", server.url); // in Amazon's place
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAFAKEFAKEFAKEFAKE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
  vi.stubEnv("AWS_CONFIG_FILE", "/nowhere");
  for (const name of ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"]) vi.stubEnv(name, undefined);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await server[Symbol.asyncDispose]();
});

const signedFor = () =>
  server.log.map(({ headers }) => /\/([a-z0-9-]+)\/s3\/aws4_request/.exec(headers["authorization"] ?? "")?.[1]);

test("requests are signed for the region that the bucket turns out to be in (S3-15)", async () => {
  const store = s3Store({ bucket, region: "eu-central-1" });
  await store.check(never);
  await listed(store);
  expect(signedFor()[0]).toBe("eu-central-1");
  expect(new Set(signedFor().slice(1))).toEqual(new Set(["us-east-1"]));
});

test("a bucket that is where it was looked for, or whose region is not told, is used as it is (S3-15)", async () => {
  for (const region of ["us-east-1", undefined]) {
    server.fault({
      operation: "HeadBucket",
      action: () => ({ status: 200, headers: region === undefined ? {} : { "x-amz-bucket-region": region } }),
    });
    await s3Store({ bucket, region: "us-east-1" }).check(never);
  }
  expect(new Set(signedFor())).toEqual(new Set(["us-east-1"]));
});

test("without a region nothing is sent, and the variable to set is named", async () => {
  await expect(s3Store({ bucket }).check(never)).rejects.toMatchObject({
    outcome: "usage",
    message: expect.stringContaining("set AWS_REGION"),
  });
  expect(server.log).toEqual([]);
});
