/** Recovery without this program: the system's own tar, gzip and cat. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { list } from "tar";
import { afterAll, beforeAll, expect, test } from "vitest";
import { digestOf } from "../../src/base/bytes.ts";
import { segmentBytes } from "../../src/snapshot/limits.ts";
import { dumpOf, type MadeFile, make, noise } from "./make.ts";
import { smallSnapshot } from "./small.ts";

const run = promisify(execFile);
const longName = `${"%D0%9A".repeat(30)}/${"deep/".repeat(30)}app.dump`;
const text = Buffer.alloc(2 * segmentBytes + 12_345, "INSERT INTO endpoint VALUES (42);\n");
const secrets = Buffer.concat([Buffer.alloc(30_000_000, "key: value\n"), noise(100_000)]);
let folder: string;
let made: MadeFile;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kaa-snapshot-"));
  made = await make(
    [
      dumpOf(
        "mariadb",
        "kaa-mariadb",
        { name: "app.sql", content: text },
        { name: "app.sql.old", content: noise(20) },
        { name: "empty", content: Buffer.alloc(0) },
        { name: longName, content: noise(1_000) },
      ),
      dumpOf("vault", "kaa-vault", {
        name: "secrets",
        content: gzipSync(secrets, { level: 0 }),
        encoding: "gzip",
        plain: digestOf(secrets),
      }),
    ],
    { compressionLevel: 1 },
  );
  await writeFile(join(folder, made.fileName), made.bytes);
  await run("tar", ["xzf", made.fileName], { cwd: folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function shell(script: string): Promise<Buffer> {
  const { stdout } = await run("sh", ["-c", script], { cwd: folder, encoding: "buffer", maxBuffer: 64 * 1024 * 1024 });
  return stdout;
}

test("gzip finds nothing wrong with the file", async () => {
  expect((await run("gzip", ["-tv", made.fileName], { cwd: folder })).stderr).toMatch(/OK/);
});

test("tar lists regular files of nobody's, all of the time when the run began", async () => {
  const args = ["--utc", "--full-time", "-tvzf", made.fileName];
  const { stdout, stderr } = await run("tar", args, { cwd: folder });
  expect(stderr).toBe("");
  const lines = stdout.trimEnd().split("\n");
  expect(lines.every((line) => /^-rw------- 0\/0 +\d+ 2021-02-12 15:28:37 /.test(line))).toBe(true);
  const paths = lines.map((line) => line.split(" ").at(-1));
  expect(paths[0]).toBe("header.json");
  expect(paths.at(-1)).toBe("manifest.json");
  expect(paths).toHaveLength(2 + 3 + 1 + 1 + 1 + 4);
});

test("a tar of another make opens it, too, and finds nothing to warn of", async () => {
  const paths: string[] = [];
  await list({ file: join(folder, made.fileName), strict: true, onReadEntry: (entry) => void paths.push(entry.path) });
  expect(paths.at(-1)).toBe("manifest.json");
});

test("cat joins the segments of a stream, and not those of its neighbour", async () => {
  const joined = await shell("cat mariadb/kaa-mariadb/app.sql.??????");
  expect(joined.equals(text)).toBe(true);
});

test("cat and gunzip join a stream that the pod has compressed", async () => {
  const joined = await shell("cat vault/kaa-vault/secrets.gz.?????? | gunzip");
  expect(joined.equals(secrets)).toBe(true);
});

test("empty streams and long names are there", async () => {
  expect((await stat(join(folder, "mariadb/kaa-mariadb/empty.000000"))).size).toBe(0);
  expect((await readFile(join(folder, `mariadb/kaa-mariadb/${longName}.000000`))).equals(noise(1_000))).toBe(true);
});

test("the manifest is there to read, and tells the digests that sha256sum finds", async () => {
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
  expect(manifest).toEqual(made.manifest);
  const sum = await shell("cat mariadb/kaa-mariadb/app.sql.?????? | sha256sum");
  expect(sum.toString().slice(0, 64)).toBe(manifest.instances[0].streams[0].stored.sha256);
});

test("the small snapshot of the corruption sweep is a tar, too", async () => {
  const small = await smallSnapshot();
  await writeFile(join(folder, "small.tar.gz"), small.bytes);
  const { stdout, stderr } = await run("tar", ["-tzf", "small.tar.gz"], { cwd: folder });
  expect(stderr).toBe("");
  expect(stdout).toContain("postgresql/kaa-postgresql~2/log.gz.000001\n");
});
