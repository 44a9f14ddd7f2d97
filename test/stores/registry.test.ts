import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { openStore } from "../../src/stores/registry.ts";

test("openStore() knows buckets and folders by their URL", async () => {
  expect((await openStore("file:///var/backup/")).location).toBe("/var/backup");
  expect((await openStore("s3://storage-backup--kaa", { region: "us-east-1" })).location).toBe(
    "s3://storage-backup--kaa",
  );
});

test.each(["ftp://host", "/var/backup", "s3://bucket/folder", "s3://Bucket_1", "s3://"])(
  "openStore() refuses %s",
  async (url) => {
    await expect(openStore(url)).rejects.toMatchObject({ outcome: "usage" });
  },
);

test("the S3 library is loaded for buckets only", () => {
  const loaded = (url: string) =>
    execFileSync(process.execPath, [
      "-e",
      `import("./src/stores/registry.ts")
         .then(({ openStore }) => openStore("${url}", { region: "us-east-1" }))
         .then(() => console.log(Object.keys(require.cache).some((path) => path.includes("client-s3"))))`,
    ])
      .toString()
      .trim();
  expect(loaded("file:///var/backup")).toBe("false");
  expect(loaded("s3://storage-backup--kaa")).toBe("true");
});
