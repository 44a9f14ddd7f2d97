import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonValue } from "../../src/base/json.ts";
import {
  parseSnapshotFileName,
  parseSnapshotName,
  snapshotFileName,
  snapshotName,
} from "../../src/base/snapshot-name.ts";
import { parseDurationMs } from "../../src/cli/duration.ts";
import { compileTemplate } from "../../src/cli/jsonpath.ts";
import { frame, parseFrame, parseStatus } from "../../src/cluster/channels.ts";
import { type Cluster, runForText } from "../../src/cluster/cluster.ts";
import { connectCluster } from "../../src/cluster/connect.ts";
import { readAccess } from "../../src/cluster/kubeconfig.ts";
import { redact } from "../../src/cluster/redact.ts";
import { readWitness } from "../../src/cluster/witness.ts";
import { expandEntry } from "../../src/snapshot/entry.ts";
import { decodeFooter, encodeFooter, footerBytes } from "../../src/snapshot/footer.ts";
import { GunzipMeter } from "../../src/snapshot/gunzip.ts";
import { expandMember } from "../../src/snapshot/gzip.ts";
import { fileOrder } from "../../src/snapshot/layout.ts";
import { parseHeader, parseManifest } from "../../src/snapshot/parse.ts";
import { folderOf, folderOfEntry, isFolderOf, isStreamName } from "../../src/snapshot/path.ts";
import { openSnapshot, readContents } from "../../src/snapshot/reader.ts";
import { isSnapshotFileName, requireSnapshotFileName } from "../../src/stores/store.ts";
import { session } from "../cli/session.ts";
import { FakeApiServer } from "../fakes/api-server.ts";
import { FakeS3 } from "../fakes/s3-server.ts";
import { close, memberOf } from "../snapshot/forge.ts";
import { fileOf, never } from "../snapshot/make.ts";
import { smallSnapshot } from "../snapshot/small.ts";
import { damagedBytes, fuzz } from "./fuzz.ts";

const small = await smallSnapshot();
const manifest = await readContents(fileOf(small), never);
const folder = mkdtempSync(join(tmpdir(), "kaa-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("frames", () => {
  const server = new FakeApiServer([{ namespace: "kaa", name: "db-0", labels: {}, env: {} }]);
  let cluster: Cluster;
  beforeAll(async () => {
    await server.start();
    cluster = await connectCluster({ kubeconfig: server.kubeconfig });
  });
  afterAll(() => server.stop());

  test("one by one", async () => {
    await fuzz({
      ...{ name: "frames", runs: 100_000, sample: 600 },
      input: fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 300 })),
      act([channel, data]) {
        expect(parseFrame(frame(channel, data))).toEqual({ channel, data: Buffer.from(data) });
        parseFrame(Buffer.from(data));
      },
    });
  });

  test("a status", async () => {
    const fields = fc.record(
      { status: fc.constantFrom("Success", "Failure", 1, null), reason: fc.constantFrom("NonZeroExitCode", "x", 7) },
      { requiredKeys: [] },
    );
    const status = fc.tuple(fields, fc.dictionary(fc.constantFrom("details", "message"), fc.jsonValue()));
    await fuzz({
      ...{ name: "statuses", runs: 100_000, sample: 600 },
      input: fc.oneof(
        fc.string(),
        fc.json(),
        status.map(([known, rest]) => JSON.stringify({ ...known, ...rest })),
      ),
      act: (text) => parseStatus(text),
    });
  });

  test("a pod's report", async () => {
    const word = fc.constantFrom(..."watch received decoder status plain encoder sent 0 1 12345 0x1 -1".split(" "));
    const report = fc.array(fc.oneof(word, fc.string(), fc.constant("a".repeat(64))), { maxLength: 30 });
    await fuzz({
      ...{ name: "reports", runs: 100_000, sample: 600 },
      input: fc.tuple(report, fc.string(), fc.boolean()),
      act([words, noise, isEnded]) {
        const text = `${noise}\nkaa-backup nonce ${words.join(" ")}${isEnded ? "\n" : ""}`;
        readWitness(text, "nonce");
        redact(text, words);
      },
    });
  });

  test("any messages in place of a command", async () => {
    const [pod] = await cluster.listPods("kaa", never);
    if (pod === undefined) throw new Error("the pod was not found");
    const success = Buffer.from('\x03{"metadata":{},"status":"Success"}');
    const report = Buffer.from(`\x02\nkaa-backup x status 0 sent 0 ${"0".repeat(64)}\n`);
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.tuple(fc.integer({ min: 0, max: 5 }), fc.uint8Array({ maxLength: 200 })).map(([n, data]) => frame(n, data)),
      fc.constantFrom<Uint8Array | string>(success, report, "text", Buffer.alloc(0), Buffer.alloc(70_000, 3)),
    );
    let messages: readonly (Uint8Array | string)[] = [];
    server.execFault = () => ({ kind: "messages", messages });
    let believed = 0;
    await fuzz({
      ...{ name: "messages", runs: 5000, sample: 25 },
      input: fc.array(message, { maxLength: 8 }),
      async act(given) {
        messages = given;
        server.requests.length = 0;
        await runForText(cluster, { pod, container: "main" }, { script: "true", signal: AbortSignal.timeout(20_000) });
        believed += 1;
      },
    });
    // Nobody but the pod knows the number with which it must begin its report.
    expect(believed).toBe(0);
  });
});

describe("the archive", () => {
  const member = memberOf(Buffer.from("content"));
  const frameOfEntry = { path: "a/b/c.000000", contentBytes: 7, modifiedAt: new Date(0) };

  test("members and entries", async () => {
    await fuzz({
      ...{ name: "tar and gzip", runs: 50_000, sample: 300 },
      input: damagedBytes([member, small.bytes, memberOf(Buffer.alloc(600))]),
      async act(bytes) {
        const content = await expandMember(bytes, 7);
        expect(content === undefined || content.byteLength === 7).toBe(true);
        expect(await expandEntry(frameOfEntry, bytes)).toBeUndefined();
      },
    });
  });

  test("a stream that a pod has compressed", async () => {
    await fuzz({
      ...{ name: "gzip streams", runs: 20_000, sample: 100 },
      input: fc.tuple(damagedBytes([member, memberOf(Buffer.alloc(5000))]), fc.integer({ min: 1, max: 50 })),
      async act([bytes, sliceBytes]) {
        const meter = new GunzipMeter(4000);
        try {
          for (let at = 0; at < bytes.byteLength; at += sliceBytes)
            await meter.add(bytes.subarray(at, at + sliceBytes));
          expect((await meter.digest()).bytes).toBeLessThanOrEqual(4000);
        } catch (error) {
          // Its caller says where: `StreamCheck` in src/snapshot/verify.ts.
          if (!isOfGunzip(error)) throw error;
        } finally {
          await meter.abandon();
        }
      },
    });
  });

  test("a footer", async () => {
    const valid = small.bytes.subarray(-footerBytes);
    await fuzz({
      ...{ name: "footers", runs: 100_000, sample: 600 },
      input: fc.array(fc.tuple(fc.nat(footerBytes - 1), fc.nat(255)), { maxLength: 6 }),
      act(changes) {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        const found = decodeFooter(bytes);
        if (found !== undefined) expect(encodeFooter(found).equals(bytes)).toBe(true);
      },
    });
  });

  test("whole files", async () => {
    await fuzz({
      ...{ name: "files", runs: 20_000, sample: 100 },
      input: damagedBytes([small.bytes, small.bytes.subarray(-footerBytes), member]),
      async act(bytes) {
        const snapshot = await openSnapshot(fileOf({ ...small, bytes }), never);
        await snapshot.verifyAll(never);
        expect(bytes.equals(small.bytes)).toBe(true);
      },
    });
  });
});

describe("the table of contents", () => {
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const keys = [...new Set([...JSON.stringify(manifest).matchAll(/"(\w+)":/g)].map(([, key = ""]) => key))];

  test("any JSON", async () => {
    await fuzz({
      ...{ name: "JSON", runs: 50_000, sample: 300 },
      input: fc.oneof(
        fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
        fc.json().map((text) => Buffer.from(text)),
        fc.dictionary(fc.constantFrom(...keys), fc.jsonValue(), { maxKeys: 20 }).map(json),
      ),
      act(bytes) {
        expect(() => parseHeader(bytes)).toThrow();
        parseManifest(bytes);
        throw new Error("it was taken for a table of contents");
      },
    });
  });

  /** The right one with other values at some places. */
  const changed = fc
    .array(fc.tuple(fc.nat(), fc.oneof(fc.jsonValue(), fc.integer(), fc.string(), fc.constantFrom(...keys))), {
      maxLength: 4,
      minLength: 1,
    })
    .map((changes) => {
      const copy: JsonValue = structuredClone(manifest) as unknown as JsonValue; // it was made from JSON
      for (const [nth, value] of changes) {
        const places = placesIn(copy);
        const place = places[nth % places.length];
        if (place !== undefined) place.parent[place.key] = value as JsonValue;
      }
      return copy;
    });

  test("other values", async () => {
    const end = Number(small.bytes.subarray(-footerBytes).readBigUInt64LE(24));
    await fuzz({
      ...{ name: "values of the table of contents", runs: 50_000, sample: 300 },
      input: changed,
      act: (value) => fileOrder(parseManifest(json(value)), end),
    });
  });

  test("other values, vouched for", async () => {
    const body = small.bytes.subarray(0, Number(small.bytes.subarray(-footerBytes).readBigUInt64LE(24)));
    await fuzz({
      ...{ name: "tables of contents that are vouched for", runs: 10_000, sample: 40 },
      input: changed,
      async act(value) {
        const snapshot = await openSnapshot(fileOf(await close(body, json(value))), never);
        await snapshot.verifyAll(never);
      },
    });
  });

  function placesIn(
    value: JsonValue,
  ): { readonly parent: Record<string | number, JsonValue>; readonly key: string | number }[] {
    if (typeof value !== "object" || value === null) return [];
    const parent = value as Record<string, JsonValue>;
    return Object.keys(parent).flatMap((key) => [{ parent, key }, ...placesIn(parent[key] ?? null)]);
  }
});

function isOfGunzip(error: unknown): boolean {
  return (
    error instanceof RangeError ||
    (error instanceof Error && "code" in error && /^(Z_|ERR_STREAM)/.test(String(error.code)))
  );
}

describe("names", () => {
  test("of snapshots", async () => {
    const near = fc.array(fc.constantFrom(..."0123456789-/.", "00", "31", "29-02-", ".partial", ".tar.gz"), {
      maxLength: 30,
    });
    await fuzz({
      ...{ name: "names of snapshots", runs: 100_000, sample: 600 },
      input: fc.oneof(
        fc.string(),
        near.map((parts) => parts.join("")),
        fc.constant(".partial".repeat(5000)),
      ),
      act(text) {
        const parsed = parseSnapshotFileName(text);
        if (parsed !== undefined) {
          expect(snapshotFileName(snapshotName(parsed.startedAt), parsed)).toBe(text);
          expect(isSnapshotFileName(text)).toBe(true);
        }
        const startedAt = parseSnapshotName(text);
        if (startedAt !== undefined) expect(snapshotName(startedAt)).toBe(text);
        requireSnapshotFileName(text);
        expect(text).not.toMatch(/[/\\]|\.\./);
      },
    });
  });

  test("of streams and folders", async () => {
    const near = fc.array(fc.constantFrom("a", "/", ".", "..", "~2", "~02", "%2e", ".gz", ".000000", "\0", "é"), {
      maxLength: 12,
    });
    const long = fc.constantFrom("a/".repeat(3000), `${"a".repeat(3000)}!`, `${"a.".repeat(1500)}/`);
    await fuzz({
      ...{ name: "names of streams", runs: 100_000, sample: 600 },
      input: fc.oneof(
        fc.string(),
        near.map((parts) => parts.join("")),
        long,
      ),
      act(text) {
        if (isStreamName(text)) expect(text.split("/")).not.toContain("..");
        const owner = { storage: "a", instance: "b" };
        if (isFolderOf(owner, text)) expect(text).toMatch(/^a\/b(~[1-9]\d*)?$/);
        expect(isFolderOf(owner, folderOf(owner, 3))).toBe(true);
        expect(folderOfEntry(text)?.includes("..") ?? false).toBe(false);
      },
    });
  });
});

describe("the command line", () => {
  const s3 = new FakeS3();
  beforeAll(async () => {
    await s3.start();
    s3.bucket("storage-backup--kaa");
    writeFileSync(join(folder, "kubeconfig"), "");
  });
  afterAll(() => s3[Symbol.asyncDispose]());

  const word = fc.constantFrom(
    ...[
      "create",
      "list",
      "describe",
      "verify",
      "restore",
      "prune",
      "delete",
      "download",
      "storages",
      "doctor",
      "version",
    ],
    ...[
      "schedule",
      "completion",
      "backup",
      "create_s3_all_backups",
      "--all",
      "--local",
      "--storage",
      "--bucket",
      "--date",
    ],
    ...[
      "--yes",
      "--dry-run",
      "-n",
      "kaa",
      "-o",
      "json",
      "yaml",
      "wide",
      "jsonpath={.a}",
      "--keep-last",
      "--help",
      "-h",
    ],
    ...[
      "--source-namespace",
      "--compression",
      "--compression-level",
      "--strict",
      "--parallel",
      "--context",
      "-q",
      "-v",
    ],
    ...[
      "--keep-within",
      "--endpoint",
      "--region",
      "--timeout",
      "--color",
      "12-02-2021-15-28-37",
      "31-02-2021-00-00-00",
    ],
    ...["postgresql,minio", "-1", "0", "1e9", "", "--", "-", "../../etc/passwd", "a\nb", "\u001b[31m", "--constructor"],
    ...["--__proto__", "--no-all", "--dir=", "--storage=", "--namespace=kaa", "--config=/nonexistent", "é", "null"],
  );

  test("any flags", async () => {
    const env = {
      HOME: folder,
      KUBECONFIG: join(folder, "kubeconfig"),
      AWS_ENDPOINT_URL: s3.url,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "AKIAFAKEFAKEFAKEFAKE",
      AWS_SECRET_ACCESS_KEY: "secret",
    };
    Object.assign(process.env, env); // the libraries look there
    await session(["list", "-n", "kaa"], env); // what is loaded lazily takes its time once
    await session(["create", "-n", "kaa", "--all"], env);
    await fuzz({
      ...{ name: "flags", runs: 20_000, sample: 40 },
      input: fc.array(fc.oneof({ weight: 12, arbitrary: word }, { weight: 1, arbitrary: fc.string() }), {
        maxLength: 9,
      }),
      async act(argv) {
        const { code, stderr } = await session([...argv, "--dir", join(folder, "backup")], env);
        expect(code, stderr).not.toBe(1);
        expect(stderr).not.toMatch(/^\s+at .+:\d+:\d+/m);
        s3.log.length = 0;
      },
    });
  });

  test("durations and templates", async () => {
    const near = fc.array(fc.constantFrom("1", "0", ".", "h", "m", "ms", "µs", "-", "e9", " "), { maxLength: 12 });
    const template = fc.array(
      fc.constantFrom("{", "}", ".a", "[0]", "range ", "end", "'", '"', "$", "@", "*", "..", "?(", ")"),
    );
    await fuzz({
      ...{ name: "durations and templates", runs: 50_000, sample: 300 },
      input: fc.tuple(
        fc.oneof(
          fc.string(),
          near.map((parts) => parts.join("")),
        ),
        template.map((parts) => parts.join("")),
      ),
      async act([duration, text]) {
        const show = await compileTemplate(text).catch(unlessUsage);
        show?.({ a: [{ b: 1 }, null], c: "x" });
        parseDurationMs(duration, "--timeout");
      },
    });
  });

  test("a kubeconfig", async () => {
    const entry = fc.dictionary(
      fc.constantFrom("name", "cluster", "context", "user", "server", "token", "exec"),
      fc.jsonValue(),
    );
    const config = fc.dictionary(
      fc.constantFrom("clusters", "contexts", "users", "current-context", "kind"),
      fc.oneof(fc.jsonValue(), fc.array(entry, { maxLength: 3 }), fc.constant("a")),
    );
    const path = join(folder, "fuzzed");
    await fuzz({
      ...{ name: "kubeconfigs", runs: 10_000, sample: 60 },
      input: fc.oneof(
        fc.string(),
        config.map((value) => JSON.stringify(value)),
        fc.constant("&a [*a, *a]"),
      ),
      async act(text) {
        writeFileSync(path, text);
        await readAccess({ kubeconfig: path, environment: {} });
      },
    });
  });
});

function unlessUsage(error: unknown): undefined {
  if (!(error instanceof Error) || error.name !== "UserError") throw error;
}
