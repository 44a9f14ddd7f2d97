import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { openStore } from "../../src/stores/registry.ts";

test("openStore() knows buckets and folders by their URL", async () => {
  expect((await openStore("file:///var/backup/")).location).toBe("/var/backup");
  expect((await openStore("s3://storage-backup--kaa", { region: "us-east-1" })).location).toBe(
    "s3://storage-backup--kaa",
  );
});

test("a note of the directory reaches whoever opened it", async () => {
  const path = await mkdtemp(join(tmpdir(), "kaa-registry-"));
  try {
    await chmod(path, 0o777);
    const notes: string[] = [];
    const store = await openStore(pathToFileURL(path).href, { note: (message) => notes.push(message) });
    await store.prepare(new AbortController().signal);
    expect(notes).toEqual([expect.stringContaining(`every user of this machine may write to "${path}"`)]);
  } finally {
    await rm(path, { recursive: true });
  }
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
