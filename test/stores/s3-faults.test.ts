/** Faults of an S3 store, by the numbers of the fault catalogue (S3-01 to S3-24). */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test as oneAfterAnother } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import { listBuckets } from "../../src/stores/registry.ts";
import { explain, isTransient, toS3Failure } from "../../src/stores/s3-errors.ts";
import { firstPartBytes, partSizeBytes } from "../../src/stores/s3-parts.ts";
import type { Clock } from "../../src/stores/s3-retry.ts";
import type { FakeAnswer } from "../fakes/s3-operations.ts";
import { answer, change, type Fault, type FaultAction, hang, loseAnswer, refuse, reset } from "../fakes/s3-server.ts";
import { contentOf, first, inChunks, listed, never, noise, request, second } from "./conformance.ts";
import { bucket, type FakeUnderTest, fakeS3UnderTest, impatient, quick, virtualClock } from "./places.ts";

const test = oneAfterAnother.concurrent;

const bytes = noise(2 * 64 * 1024 + 1000);
const forever = Number.POSITIVE_INFINITY;
const open: FakeUnderTest[] = [];

afterAll(async () => {
  await Promise.all(open.map((made) => made.dispose()));
});

async function place(options: Parameters<typeof fakeS3UnderTest>[0] & { readonly bucket?: "absent" } = {}) {
  const made = await fakeS3UnderTest(options);
  open.push(made);
  if (options.bucket !== "absent") made.server.bucket(bucket);
  return made;
}

async function placeWith(...faults: readonly Fault[]) {
  const silent = faults.some(({ action }) => action === hang);
  const made = await place(silent ? { store: { timing: impatient } } : {});
  for (const fault of faults) made.server.fault(fault);
  return made;
}

const save = (under: FakeUnderTest) => under.store.save(request(inChunks(bytes, 50_000)));
const count = (under: FakeUnderTest, operation: string) =>
  under.server.operations.filter((name) => name === operation).length;

async function expectSaved(under: FakeUnderTest) {
  expect(await save(under)).toMatchObject({ fileName: first, sizeBytes: bytes.byteLength });
  expect(under.server.bucket(bucket).current(first)?.body.equals(bytes)).toBe(true);
  expect(await under.leftovers([])).toEqual([]);
}

async function expectRefused(under: FakeUnderTest, wanted: { outcome: string; message?: RegExp; effect?: RegExp }) {
  const error: unknown = await save(under).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  expect((error as UserError).outcome).toBe(wanted.outcome);
  if (wanted.message !== undefined) expect((error as UserError).message).toMatch(wanted.message);
  if (wanted.effect !== undefined) expect((error as UserError).effect).toMatch(wanted.effect);
  return error as UserError;
}

async function expectNothing(under: FakeUnderTest) {
  expect(under.server.bucket(bucket).current(first)).toBeUndefined();
  expect(await under.leftovers([])).toEqual([]);
}

const troubles: readonly (readonly [string, FaultAction])[] = [
  ["500", refuse(500, "InternalError")],
  ["503 SlowDown", refuse(503, "SlowDown")],
  ["a reset", reset],
  ["a lost answer", loseAnswer],
  ["silence", hang],
];

test.each(troubles)("a part is sent again after %s (S3-01)", async (_name, action) => {
  const under = await placeWith({ operation: "UploadPart", nth: 2, times: 2, action });
  await expectSaved(under);
});

test.each(troubles)("a part that always meets %s ends the upload (S3-01)", async (_name, action) => {
  const under = await placeWith({ operation: "UploadPart", times: forever, action });
  await expectRefused(under, { outcome: "object-store", message: /part [123]/ });
  await expectNothing(under);
});

test("a part is tried again for at most 15 minutes, with pauses that grow to 20 s (S3-01)", async () => {
  const pauses: number[] = [];
  let now = 0;
  const clock: Clock = {
    now: () => now,
    random: () => 0.5,
    async sleep(durationMs) {
      pauses.push(durationMs);
      now += durationMs;
    },
  };
  const under = await place({ store: { clock, timing: {}, partsInFlight: 1 } });
  under.server.fault({ operation: "UploadPart", times: forever, action: refuse(503, "SlowDown") });
  await expectRefused(under, { outcome: "object-store", message: /503 SlowDown/ });
  expect(now).toBeGreaterThan(14 * 60_000);
  expect(now).toBeLessThanOrEqual(15 * 60_000);
  expect(pauses.slice(0, 3)).toEqual([225, 450, 900]);
  expect(Math.max(...pauses)).toBe(15_000);
  await expectNothing(under);
});

test.each([403, 404])("a part refused with %i is not sent again (S3-01)", async (status) => {
  const under = await placeWith({ operation: "UploadPart", times: forever, action: refuse(status, "Refused") });
  await expectRefused(under, { outcome: status === 403 ? "credentials" : "not-found" });
  expect(count(under, "UploadPart")).toBeLessThanOrEqual(2);
  await expectNothing(under);
});

test("a part that the store damages is found by the checksum of the whole object (S3-02)", async () => {
  const under = await place();
  const damage: FaultAction = (run, { query }) => {
    const done = run();
    const part = under.server
      .bucket(bucket)
      .uploads.get(query.get("uploadId") ?? "")
      ?.parts.get(1);
    if (part !== undefined) part.body = Buffer.from(part.body.map((byte, index) => (index === 77 ? byte ^ 1 : byte)));
    return done;
  };
  under.server.fault({ operation: "UploadPart", action: damage });
  await expectRefused(under, { outcome: "object-store", message: /BadDigest/ });
  await expectNothing(under);
});

test("a checksum in the answer that differs from what was sent ends the upload (S3-02)", async () => {
  const damaged = change((given) => ({ ...given, headers: { ...given.headers, "x-amz-checksum-crc32": "AAAAAA==" } }));
  const under = await placeWith({ operation: "UploadPart", nth: 2, action: damaged });
  await expectRefused(under, { outcome: "object-store", message: /other bytes/ });
  await expectNothing(under);
});

test("a part damaged on its way is sent once more, and no more than that (S3-02)", async () => {
  await expectSaved(await placeWith({ operation: "UploadPart", action: refuse(400, "BadDigest") }));
  const under = await placeWith({ operation: "UploadPart", times: forever, action: refuse(400, "BadDigest") });
  await expectRefused(under, { outcome: "object-store", message: /BadDigest/ });
  await expectNothing(under);
});

test("a checksum in HEAD that differs ends the upload, and the object is removed (S3-02)", async () => {
  for (const checksums of ["object", "parts"] as const) {
    const under = await place({ server: { checksums } });
    const other = change((given) => ({ ...given, headers: { ...given.headers, "x-amz-checksum-crc32": "AAAAAA==" } }));
    under.server.fault({ operation: "HeadObject", nth: 3, action: other });
    await expectRefused(under, { outcome: "object-store", message: /other bytes/ });
    await expectNothing(under);
  }
});

test.each([
  ["no ETag", (given: FakeAnswer) => ({ ...given, headers: {} })],
  ["an empty ETag", (given: FakeAnswer) => ({ ...given, headers: { ...given.headers, etag: "" } })],
  ["a wrong ETag", (given: FakeAnswer) => ({ ...given, headers: { ...given.headers, etag: '"wrong"' } })],
])("a part answered with %s ends the upload (S3-03)", async (_name, how) => {
  const under = await placeWith({ operation: "UploadPart", nth: 2, action: change(how) });
  await expectRefused(under, { outcome: "object-store" });
  await expectNothing(under);
});

const errorDocument = `<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>sorry</Message></Error>`;
const unclearAnswers: readonly (readonly [string, FakeAnswer])[] = [
  ["200 with an error (S3-04)", { status: 200, body: errorDocument }],
  ["200 with an error and a final newline (S3-04)", { status: 200, body: `${errorDocument}\n` }],
  ["200 with a proxy's page (S3-05)", { status: 200, body: "<!DOCTYPE html><html><body>Welcome</body></html>" }],
  ["200 with a page that is no XML (S3-05)", { status: 200, body: "<html><p>Welcome<br></html>" }],
  ["200 with nothing (S3-05)", { status: 200, body: "" }],
  ["200 with white space (S3-05)", { status: 200, body: "  \n \n" }],
  ["500 (S3-04)", { status: 500, body: errorDocument }],
];

test.each(unclearAnswers)("Complete answered once by %s is asked for again", async (_name, given) => {
  const under = await placeWith({ operation: "CompleteMultipartUpload", action: answer(given) });
  await expectSaved(under);
  expect(count(under, "CompleteMultipartUpload")).toBe(2);
});

test.each(unclearAnswers)("Complete that was done but answered by %s is a success", async (_name, given) => {
  const under = await placeWith({ operation: "CompleteMultipartUpload", action: change(() => given) });
  await expectSaved(under);
  expect(count(under, "CompleteMultipartUpload")).toBe(1);
});

test.each(unclearAnswers)("Complete always answered by %s is a failure", async (_name, given) => {
  const under = await placeWith({ operation: "CompleteMultipartUpload", times: forever, action: answer(given) });
  await expectRefused(under, { outcome: "object-store" });
  await expectNothing(under);
});

test.each([
  ["404 NoSuchUpload", refuse(404, "NoSuchUpload")],
  ["412", refuse(412, "PreconditionFailed")],
  ["409", refuse(409, "ConditionalRequestConflict")],
  ["403", refuse(403, "AccessDenied")],
])("Complete whose answer was lost, and then %s, is resolved by HEAD (S3-06)", async (_name, then) => {
  const under = await placeWith(
    { operation: "CompleteMultipartUpload", action: loseAnswer },
    { operation: "CompleteMultipartUpload", nth: 2, times: forever, action: then },
    { operation: "HeadObject", nth: 3, action: refuse(503, "SlowDown") },
  );
  await expectSaved(under);
});

test("Complete that was done but said 404 or 412 is a success (S3-06)", async () => {
  for (const status of [404, 412]) {
    const done = change(() => ({ status, body: errorDocument.replace("InternalError", "NoSuchUpload") }));
    await expectSaved(await placeWith({ operation: "CompleteMultipartUpload", action: done }));
  }
});

test("Complete that never ends is given up, and HEAD decides (S3-07)", async () => {
  const doneInSilence: FaultAction = (run) => {
    run();
    return "hang";
  };
  const done = await place({ store: { timing: impatient } });
  done.server.fault({ operation: "CompleteMultipartUpload", action: doneInSilence });
  await expectSaved(done);
  const under = await placeWith({ operation: "CompleteMultipartUpload", times: forever, action: hang });
  await expectRefused(under, { outcome: "deadline" });
  await expectNothing(under);
});

test("409 at Complete is a failure, and nothing is replaced (S3-08)", async () => {
  const under = await placeWith({
    operation: "CompleteMultipartUpload",
    times: forever,
    action: refuse(409, "ConditionalRequestConflict"),
  });
  await expectRefused(under, { outcome: "object-store" });
  await expectNothing(under);
});

test("412: an object that appears during the upload is left as it is (S3-09)", async () => {
  const under = await place();
  const plantFirst: FaultAction = (run) => {
    under.server.bucket(bucket).plant(first, "theirs");
    return run();
  };
  under.server.fault({ operation: "CompleteMultipartUpload", action: plantFirst });
  await expectRefused(under, { outcome: "busy", message: /name is taken/, effect: /the existing object is unchanged/ });
  expect(under.server.bucket(bucket).current(first)?.body.toString()).toBe("theirs");
  expect(await under.leftovers([])).toEqual([]);
});

test("a store that ignores If-None-Match: an object that appears during the upload is left as it is (S3-10)", async () => {
  const under = await place({ server: { conditionalWrites: "ignore" } });
  const plantFirst: FaultAction = (run) => {
    under.server.bucket(bucket).plant(first, "theirs");
    return run();
  };
  under.server.fault({ operation: "UploadPart", nth: 3, action: plantFirst });
  await expectRefused(under, { outcome: "busy" });
  expect(under.server.bucket(bucket).current(first)?.body.toString()).toBe("theirs");
  expect(await under.leftovers([])).toEqual([]);
});

test("an object that replaced ours right after Complete is theirs, and stays (S3-10)", async () => {
  const under = await place({ server: { conditionalWrites: "ignore" } });
  const plantThen: FaultAction = (run) => {
    const done = run();
    under.server.bucket(bucket).plant(first, "theirs", { "kaa-run-id": "another run" });
    return done;
  };
  under.server.fault({ operation: "CompleteMultipartUpload", action: plantThen });
  await expectRefused(under, { outcome: "busy" });
  expect(under.server.bucket(bucket).current(first)?.body.toString()).toBe("theirs");
});

test("a store without conditional writes is used all the same, with a note (S3-10)", async () => {
  const under = await place({ server: { conditionalWrites: "refuse" } });
  await expectSaved(under);
  expect(under.notes.join()).toContain("no conditional writes");
});

/** A store that has kept something else than it was sent. */
const keepOther =
  (under: FakeUnderTest, times = 1): FaultAction =>
  (run) => {
    const done = run();
    const runId = under.server.bucket(bucket).current(first)?.metadata["kaa-run-id"] ?? "";
    for (let time = 0; time < times; time++) under.server.bucket(bucket).plant(first, "cut", { "kaa-run-id": runId });
    return done;
  };

test.each([false, true])(
  "HEAD shows another size: ours is removed, older versions stay (S3-11, versions %s)",
  async (versions) => {
    const under = await place({ server: { versions } });
    const store = under.server.bucket(bucket);
    if (versions) {
      store.plant(first, "of old");
      store.delete(first, null);
    }
    under.server.fault({ operation: "CompleteMultipartUpload", action: keepOther(under) });
    await expectRefused(under, { outcome: "object-store", message: /3 bytes instead of/ });
    await expectNothing(under);
    const left = store.objects.get(first)?.map(({ body }) => body.toString());
    expect(left).toEqual(versions ? ["of old", ""] : undefined);
  },
);

test.each([
  ["denied", refuse(403, "AccessDenied")],
  ["without effect", answer({ status: 204 })],
])(
  "an object that must not stay, where removing it is %s, is reported with what to run (S3-11)",
  async (_how, action) => {
    const under = await place();
    under.server.fault({ operation: "CompleteMultipartUpload", action: keepOther(under) });
    under.server.fault({ operation: "DeleteObject", times: forever, action });
    const error = await expectRefused(under, {
      outcome: "leftovers",
      message: /3 bytes instead of/,
      effect: /incomplete/,
    });
    expect(error.hints).toEqual([`run: aws s3api delete-object --bucket ${bucket} --key ${first}`]);
  },
);

test.each([
  [2, "object-store", 0],
  [3, "leftovers", 1],
] as const)("with %i older versions of ours below it: %s (S3-11)", async (times, outcome, left) => {
  const under = await place({ server: { versions: true } });
  const store = under.server.bucket(bucket);
  const cut: FaultAction = (run, asked) => {
    const done = keepOther(under, times + 1)(run, asked);
    store.objects.set(first, (store.objects.get(first) ?? []).slice(1)); // without the whole one
    return done;
  };
  under.server.fault({ operation: "CompleteMultipartUpload", action: cut });
  await expectRefused(under, { outcome, message: /3 bytes instead of/ });
  expect(store.objects.get(first)?.length ?? 0).toBe(left);
});

test("HEAD shows nothing although Complete said yes: a failure (S3-11)", async () => {
  const under = await place();
  const vanish: FaultAction = (run) => {
    const done = run();
    under.server.bucket(bucket).delete(first, null);
    return done;
  };
  under.server.fault({ operation: "CompleteMultipartUpload", action: vanish });
  await expectRefused(under, { outcome: "object-store", message: /reported success, yet/ });
  await expectNothing(under);
});

test("HEAD shows the object only after a moment: a success (S3-11)", async () => {
  await expectSaved(await placeWith({ operation: "HeadObject", nth: 3, times: 2, action: refuse(404, "NotFound") }));
});

const unlistable: Fault = { operation: "ListParts", times: forever, action: refuse(403, "AccessDenied") };
const brokenPart: Fault = { operation: "UploadPart", times: forever, action: refuse(403, "AccessDenied") };

test("an abort is repeated until ListParts knows the upload no more: a late part had landed (S3-12)", async () => {
  const late = answer({ status: 204 }); // done, says the store, yet parts are there
  const under = await placeWith(brokenPart, { operation: "AbortMultipartUpload", times: 2, action: late });
  await expectRefused(under, { outcome: "credentials" });
  expect(count(under, "AbortMultipartUpload")).toBe(3);
  await expectNothing(under);
});

test.each(troubles)("an abort that meets %s is repeated (S3-12)", async (_name, action) => {
  const under = await placeWith(brokenPart, { operation: ["AbortMultipartUpload", "ListParts"], nth: 1, action });
  await expectRefused(under, { outcome: "credentials" });
  await expectNothing(under);
});

test("an upload that somebody has ended is a failure of the store, not a missing snapshot (S3-12)", async () => {
  const under = await place();
  const endFirst: FaultAction = (run, { query }) => {
    under.server.bucket(bucket).uploads.delete(query.get("uploadId") ?? "");
    return run();
  };
  for (const operation of ["UploadPart", "CompleteMultipartUpload"] as const) {
    under.server.fault({ operation, action: endFirst });
    await expectRefused(under, { outcome: "object-store", message: /lost the upload/ });
    await expectNothing(under);
  }
});

test("an abort by one who may not list parts is repeated once, to be sure (S3-12)", async () => {
  const under = await placeWith(brokenPart, unlistable);
  await expectRefused(under, { outcome: "credentials" });
  expect(count(under, "AbortMultipartUpload")).toBe(2);
  await expectNothing(under);
});

test("an abort by one who may not list parts, in a store that never says the upload is gone (S3-12)", async () => {
  const under = await placeWith(brokenPart, unlistable);
  const done = change(() => ({ status: 204 }));
  under.server.fault({ operation: "AbortMultipartUpload", times: forever, action: done });
  await expectRefused(under, { outcome: "credentials" });
  expect(count(under, "AbortMultipartUpload")).toBe(2);
  await expectNothing(under);
});

test("an abort that finds no upload is enough to one who may not list parts (S3-12)", async () => {
  const under = await place();
  const endFirst: FaultAction = (run, asked) => {
    under.server.bucket(bucket).uploads.clear();
    return refuse(403, "AccessDenied")(run, asked);
  };
  under.server.fault({ operation: "UploadPart", times: forever, action: endFirst });
  under.server.fault(unlistable);
  await expectRefused(under, { outcome: "credentials" });
  expect(count(under, "AbortMultipartUpload")).toBe(1);
});

test("an abort that never worked proves nothing to one who may not list parts (S3-12)", async () => {
  const under = await placeWith(brokenPart, unlistable, {
    operation: "AbortMultipartUpload",
    times: forever,
    action: refuse(500, "InternalError"),
  });
  await expectRefused(under, { outcome: "leftovers" });
});

test.each([
  ["denied", refuse(403, "AccessDenied")],
  ["failing", refuse(500, "InternalError")],
  ["without effect", answer({ status: 204 })],
  ["silent", hang],
])("an abort that is %s for ever is reported with what to run (S3-12)", async (_name, action) => {
  const under = await placeWith(brokenPart, { operation: "AbortMultipartUpload", times: forever, action });
  const error = await expectRefused(under, { outcome: "leftovers" });
  const [id] = [...under.server.bucket(bucket).uploads.keys()];
  expect(error.message).toContain(id);
  expect(error.message).toContain("access denied");
  expect(error.hints.join()).toContain(
    `aws s3api abort-multipart-upload --bucket ${bucket} --key ${first} --upload-id ${id}`,
  );
  expect(error.effect).toContain("earlier snapshots are unchanged");
  expect(error.cause).toMatchObject({ outcome: "credentials" });
});

test("cleaning up has a bound: what it could not end by then is told (S3-12)", async () => {
  const under = await place({ store: { timing: { ...quick, cleanupMs: 600 } } });
  under.server.fault(brokenPart);
  under.server.fault({ operation: ["AbortMultipartUpload", "ListParts"], times: forever, action: hang });
  const begunAt = performance.now();
  const error = await expectRefused(under, { outcome: "leftovers", message: /access denied/ });
  expect(performance.now() - begunAt).toBeLessThan(quick.idleMs / 2);
  expect(error.hints).toEqual([expect.stringContaining("aws s3api abort-multipart-upload")]);
});

test("a signal that fires while parts are on their way leaves nothing, even when they land late (S3-12)", async () => {
  const under = await place();
  const stop = new AbortController();
  const slow: FaultAction = async (run) => {
    stop.abort(new Error("interrupted"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    return run();
  };
  under.server.fault({ operation: "UploadPart", times: forever, action: slow });
  const saving = under.store.save(request(inChunks(bytes, 50_000), { signal: stop.signal }));
  await expect(saving).rejects.toThrow("interrupted");
  await new Promise((resolve) => setTimeout(resolve, 100));
  await expectNothing(under);
});

test("a signal that fires during Complete leaves nothing (S3-12)", async () => {
  const under = await place();
  const stop = new AbortController();
  const stopThen: FaultAction = async (run) => {
    stop.abort(new Error("interrupted"));
    await new Promise((resolve) => setTimeout(resolve, 20));
    return run();
  };
  under.server.fault({ operation: "CompleteMultipartUpload", action: stopThen });
  const saving = under.store.save(request(inChunks(bytes, 50_000), { signal: stop.signal }));
  await expect(saving).rejects.toThrow("interrupted");
  await expectNothing(under);
});

test("an upload whose id was lost is found and ended (S3-12)", async () => {
  await expectSaved(await placeWith({ operation: "CreateMultipartUpload", times: 2, action: loseAnswer }));
  const under = await placeWith({ operation: "CreateMultipartUpload", times: forever, action: loseAnswer });
  const foreign = `${first}.old`;
  under.server.bucket(bucket).createUpload(foreign, {});
  await expectRefused(under, { outcome: "object-store" });
  expect(await under.leftovers([])).toEqual([foreign]);
});

test("prepare() ends uploads of snapshots that are older than a day, and no others (S3-13)", async () => {
  const under = await place({ server: { pageSize: 2 } });
  const store = under.server.bucket(bucket);
  const day = 24 * 3_600_000;
  const begin = (key: string, ageMs: number) => {
    store.createUpload(key, {}).startedAt = new Date(Date.now() - ageMs);
  };
  for (const key of [first, second, "kaa-backup-probe", "opendistro/x", "other.tar.gz"]) begin(key, day + 60_000);
  begin(first, day - 60_000);
  await under.store.prepare(never);
  expect([...(await under.leftovers([]))].sort()).toEqual([first, "opendistro/x", "other.tar.gz"]);
  expect(under.notes.filter((note) => note.startsWith("ended an upload"))).toHaveLength(3);
});

test("discardUnfinished() ends uploads of that name at any age, and no others (S3-13)", async () => {
  const under = await place();
  const store = under.server.bucket(bucket);
  for (const key of [first, second, first, `${first}.old`]) store.createUpload(key, {});
  await under.store.discardUnfinished(first, never);
  expect([...(await under.leftovers([]))].sort()).toEqual([`${first}.old`, second].sort());
});

test("discardUnfinished() finds uploads of one name that are listed on several pages (S3-13)", async () => {
  const under = await place({ server: { pageSize: 2 } });
  for (let nth = 0; nth < 7; nth++) under.server.bucket(bucket).createUpload(first, {});
  await under.store.discardUnfinished(first, never);
  expect(await under.leftovers([])).toEqual([]);
});

test.each([
  ["prepare", (under: FakeUnderTest) => under.store.prepare(never)],
  ["discardUnfinished", (under: FakeUnderTest) => under.store.discardUnfinished(first, never)],
])("%s() notes an upload of a killed run that it may not end (S3-13)", async (_name, act) => {
  const under = await place();
  under.server.bucket(bucket).createUpload(first, {}).startedAt = new Date(0);
  const deny: FaultAction = (run, asked) => (asked.key === first ? refuse(403, "AccessDenied")(run, asked) : run());
  under.server.fault({ operation: "AbortMultipartUpload", times: forever, action: deny });
  await act(under);
  expect(under.notes).toContainEqual(expect.stringMatching(`^could not end an upload of "${first}"`));
  expect(await under.leftovers([])).toEqual([first]);
});

test("a listing of uploads that repeats one page under new markers is ended (S3-13)", async () => {
  const under = await place();
  under.server.bucket(bucket).createUpload(first, {});
  let markers = 0;
  const action = change((given) => {
    const more = `<IsTruncated>true</IsTruncated><NextKeyMarker>${markers++}</NextKeyMarker>`;
    const body = String(given.body).replace(/<IsTruncated>.*?<\/IsTruncated>/, "");
    return { ...given, body: body.replace(/(<ListMultipartUploadsResult[^>]*>)/, `$1${more}`) };
  });
  const unmarked: FaultAction = (run, asked) => {
    asked.query.delete("key-marker");
    return action(run, asked);
  };
  const ofAll = { operation: "ListMultipartUploads", nth: 2, times: forever } as const; // the first is of probes
  under.server.fault({ ...ofAll, action: unmarked });
  await under.store.prepare(never);
  expect(await under.leftovers([])).toEqual([first]);
  expect(markers).toBeGreaterThan(1);
});

test.each([
  ["an id", /<UploadId>.*?<\/UploadId>/g],
  ["a date", /<Initiated>.*?<\/Initiated>/g],
])("prepare() leaves uploads alone that are listed without %s (S3-13)", async (_name, missing) => {
  const under = await place();
  under.server.bucket(bucket).createUpload(first, {}).startedAt = new Date(0);
  const action = change((given) => ({ ...given, body: String(given.body).replace(missing, "") }));
  under.server.fault({ operation: "ListMultipartUploads", times: forever, action });
  await under.store.prepare(never);
  expect(await under.leftovers([])).toEqual([first]);
});

test.each([
  ["HeadBucket", 1],
  ["HeadBucket", 2],
  ["CreateBucket", 1],
  ["PutPublicAccessBlock", 1],
  ["PutBucketLifecycleConfiguration", 1],
  ["CreateMultipartUpload", 1],
  ["ListMultipartUploads", 1],
  ["ListMultipartUploads", 2],
] as const)(
  "a signal that fires during %s (%i) ends prepare() and leaves no upload (S3-13)",
  async (operation, nth) => {
    const under = await place({ bucket: "absent" });
    const stop = new AbortController();
    const stopThen: FaultAction = (run) => {
      const done = run();
      stop.abort(new Error("interrupted"));
      return done;
    };
    under.server.fault({ operation, nth, action: stopThen });
    await expect(under.store.prepare(stop.signal)).rejects.toThrow("interrupted");
    expect(await under.leftovers([])).toEqual([]);
  },
);

test.each(["save", "prepare", "check"] as const)(
  "%s() that is stopped while the store begins an upload late leaves none (S3-13)",
  async (what) => {
    const under = await place();
    await under.store.prepare(never);
    const stop = new AbortController();
    const lately: FaultAction = async (run) => {
      stop.abort(new Error("interrupted"));
      await sleep(300);
      return run();
    };
    under.server.fault({ operation: "CreateMultipartUpload", action: lately });
    const doing =
      what === "save"
        ? under.store.save(request(inChunks(noise(1000), 1000), { signal: stop.signal }))
        : under.store[what](stop.signal);
    await expect(doing).rejects.toThrow("interrupted");
    await sleep(600);
    expect(await under.leftovers([first])).toEqual([]);
  },
);

test("a store that never answers whether it has begun an upload is not waited for, once the run is stopped (S3-13)", async () => {
  const under = await place();
  await under.store.prepare(never);
  const stop = new AbortController();
  const silent: FaultAction = () => {
    stop.abort(new Error("interrupted"));
    return "hang";
  };
  under.server.fault({ operation: "CreateMultipartUpload", action: silent });
  const startedAt = performance.now();
  await expect(under.store.save(request(inChunks(noise(1000), 1000), { signal: stop.signal }))).rejects.toThrow(
    "interrupted",
  );
  expect(performance.now() - startedAt).toBeLessThan(5000);
});

test.each([
  ["is refused", refuse(403, "AccessDenied")],
  ["never ends", hang],
])("an upload whose id was lost is noted when the look for it %s (S3-12)", async (_name, action) => {
  const under = await place({ store: { timing: { ...quick, cleanupMs: 300 } } });
  under.server.fault({ operation: "CreateMultipartUpload", action: loseAnswer });
  under.server.fault({ operation: "CreateMultipartUpload", nth: 2, action: refuse(403, "AccessDenied") });
  under.server.fault({ operation: "ListMultipartUploads", times: forever, action });
  await expectRefused(under, { outcome: "credentials" });
  const words = `^an upload of "${first}" without data may be left in s3://${bucket}: `;
  expect(under.notes).toContainEqual(expect.stringMatching(words));
});

test("prepare() does without the right to list uploads, with a note (S3-13)", async () => {
  const under = await placeWith({ operation: "ListMultipartUploads", action: refuse(403, "AccessDenied") });
  await under.store.prepare(never);
  expect(under.notes.join()).toContain("s3:ListBucketMultipartUploads");
});

test("10,000 parts reach 5 TiB, at 8 MiB up to 31 GiB (S3-14)", () => {
  const MiB = 1024 ** 2;
  let total = 0;
  let below = 0;
  for (let part = 1; part <= 10_000; part++) {
    const size = partSizeBytes(part, 8 * MiB);
    expect(size).toBeGreaterThanOrEqual(partSizeBytes(Math.max(1, part - 1), 8 * MiB));
    expect(size).toBeLessThan(2 * 1024 ** 3); // S3 takes 5 GiB, Node's hashes do not
    total += size;
    if (size === 8 * MiB) below = total;
  }
  expect(total).toBeGreaterThanOrEqual(5 * 1024 ** 4);
  expect(below).toBe(31.25 * 1024 ** 3);
  expect(partSizeBytes(10_000, 3000 * MiB)).toBe(3000 * MiB);
});

test("what is expected decides the size of parts: equal ones hold it, and all of them twice as much or more (S3-14)", () => {
  const MiB = 1024 ** 2;
  expect(firstPartBytes(0)).toBe(8 * MiB);
  expect(firstPartBytes(60 * 1024 ** 3)).toBe(8 * MiB);
  for (const expected of [100, 1000, 4000].map((gibibytes) => gibibytes * 1024 ** 3)) {
    const size = firstPartBytes(expected);
    expect(size % MiB).toBe(0);
    expect(8_000 * size).toBeGreaterThanOrEqual(expected);
    expect(8_000 * size).toBeLessThan(expected + 8_000 * MiB);
  }
});

const MiB = 1024 ** 2;

test.each([
  ["8 MiB and two at once, when nobody knows its size", undefined, [8, 8, 8, 1], 2],
  ["17 MiB and one at a time, when 133 GiB are expected", 8_000 * 17 * MiB, [17, 8], 1],
])("an archive is cut into parts of %s (S3-14)", async (_what, expectedBytes, sizesMiB, most) => {
  const under = await place({ store: { partSizeBytes: undefined } });
  const sizes = new Map<number, number>();
  const all = Promise.withResolvers<void>();
  let inFlight = 0;
  let highest = 0;
  const watch: FaultAction = async (run, { query, body }) => {
    sizes.set(Number(query.get("partNumber")), body.byteLength);
    highest = Math.max(highest, ++inFlight);
    if (highest >= most) all.resolve();
    await all.promise;
    await new Promise((resolve) => setTimeout(resolve, 100)); // in which one more would come
    inFlight--;
    return run();
  };
  under.server.fault({ operation: "UploadPart", times: forever, action: watch });
  const archive = inChunks(Buffer.alloc(25 * MiB), MiB);
  await under.store.save(request(archive, expectedBytes === undefined ? {} : { expectedBytes }));
  expect([...sizes].sort(([a], [b]) => a - b).map(([, size]) => size / MiB)).toEqual(sizesMiB);
  expect(highest).toBe(most);
});

test("credentials that expire during the upload are asked for once more (S3-15)", async () => {
  await expectSaved(await placeWith({ operation: "UploadPart", nth: 2, action: refuse(400, "ExpiredToken") }));
  await expectSaved(await placeWith({ operation: "CompleteMultipartUpload", action: refuse(400, "ExpiredToken") }));
  const under = await placeWith({ operation: "UploadPart", times: forever, action: refuse(400, "ExpiredToken") });
  await expectRefused(under, { outcome: "credentials", message: /session token has expired/ });
  await expectNothing(under);
});

test("a clock that differs is corrected and reported (S3-15)", async () => {
  const skewed = refuse(403, "RequestTimeTooSkewed");
  const under = await placeWith({ operation: "UploadPart", action: skewed });
  await expectSaved(under);
  expect(under.notes.join()).toContain("clock");
  const always = await placeWith({ operation: "UploadPart", times: forever, action: skewed });
  await expectRefused(always, { outcome: "credentials", message: /clock/ });
});

test("a bucket in another region is named as such (S3-15)", async () => {
  const under = await placeWith({
    operation: "CreateMultipartUpload",
    times: forever,
    action: refuse(301, "PermanentRedirect"),
  });
  await expectRefused(under, { outcome: "object-store", message: /another region/ });
});

test.each([
  ["HeadBucket", "s3:ListBucket", (under: FakeUnderTest) => under.store.prepare(never)],
  ["CreateMultipartUpload", "s3:PutObject", (under: FakeUnderTest) => under.store.prepare(never)],
  ["AbortMultipartUpload", "s3:AbortMultipartUpload", (under: FakeUnderTest) => under.store.prepare(never)],
  ["UploadPart", "s3:PutObject", save],
  ["CompleteMultipartUpload", "s3:PutObject", save],
  ["ListObjectsV2", "s3:ListBucket", (under: FakeUnderTest) => listed(under.store)],
  ["HeadObject", "s3:GetObject", (under: FakeUnderTest) => under.store.open(first, never)],
] as const)("403 for %s names %s (S3-16)", async (operation, permission, act) => {
  const under = await placeWith({ operation, times: forever, action: refuse(403, "AccessDenied", "Access Denied") });
  await expect(act(under)).rejects.toMatchObject({ outcome: "credentials" });
  await expect(act(under)).rejects.toThrow(permission);
});

test("403 for the KMS key names its rights (S3-16)", async () => {
  const words = "User is not authorized to perform: kms:Decrypt on the resource";
  const under = await placeWith({ operation: "CompleteMultipartUpload", action: refuse(403, "AccessDenied", words) });
  await expectRefused(under, { outcome: "credentials", message: /kms:GenerateDataKey, kms:Decrypt/ });
  await expectNothing(under);
});

test("a bucket of somebody else is refused (S3-17)", async () => {
  const foreign = await place();
  foreign.server.bucket(bucket).owner = "999999999999";
  await expect(foreign.store.prepare(never)).rejects.toMatchObject({ outcome: "credentials" });
  await expect(save(foreign)).rejects.toMatchObject({ outcome: "credentials" });
  const expecting = await place({ store: { expectedOwner: "999999999999" } });
  await expect(expecting.store.prepare(never)).rejects.toMatchObject({ outcome: "credentials" });
});

test("the owner expected goes into every request (S3-17)", async () => {
  const under = await place({ store: { expectedOwner: "111122223333" }, bucket: "absent" });
  await under.store.prepare(never);
  await expectSaved(under);
  await contentOf(under.store, first);
  await listed(under.store);
  await under.store.remove(first, never);
  for (const { operation, headers } of under.server.log) {
    if (operation === "CreateBucket") continue;
    expect(headers["x-amz-expected-bucket-owner"], operation).toBe("111122223333");
  }
});

test.each(["a".repeat(64), "ab", "With-Capitals", "-a-b", "a..b", "a_b", "storage-backup--ns/x"])(
  "%s is no name of a bucket (S3-17)",
  async (name) => {
    await expect(place({ store: { bucket: name } })).rejects.toMatchObject({ outcome: "usage" });
  },
);

test("two runs may create the bucket at once; it is private and forgets uploads (S3-18)", async () => {
  const under = await place({ bucket: "absent" });
  await Promise.all([under.store.prepare(never), under.store.prepare(never)]);
  const { settings } = under.server.bucket(bucket);
  expect(settings.get("publicAccessBlock")).toContain("<RestrictPublicBuckets>true</RestrictPublicBuckets>");
  expect(settings.get("lifecycle")).toContain("<DaysAfterInitiation>2</DaysAfterInitiation>");
  await expectSaved(under);
});

test("prepare() tells a store that does not end uploads from a missing right (S3-16)", async () => {
  const under = await placeWith({
    operation: "AbortMultipartUpload",
    times: forever,
    action: refuse(500, "InternalError"),
  });
  await expect(under.store.prepare(never)).rejects.toMatchObject({ outcome: "object-store" });
});

test("a bucket that another run creates between our HEAD and our PUT is used (S3-18)", async () => {
  const under = await place({ bucket: "absent" });
  const createFirst: FaultAction = (run) => {
    under.server.bucket(bucket);
    return run();
  };
  under.server.fault({ operation: "CreateBucket", action: createFirst });
  await under.store.prepare(never);
});

test.each([
  ["denied", refuse(403, "AccessDenied"), /s3:CreateBucket/],
  ["foreign", refuse(409, "BucketAlreadyExists"), /BucketAlreadyExists|does not appear/],
])("creating a bucket that is %s (S3-18)", async (_name, action, message) => {
  const under = await place({ bucket: "absent" });
  under.server.fault({ operation: "CreateBucket", times: forever, action });
  await expect(under.store.prepare(never)).rejects.toThrow(message);
});

test("a name that somebody else has taken is told as such (S3-18)", async () => {
  const under = await place();
  under.server.bucket(bucket).owner = "999999999999";
  under.server.fault({ operation: "HeadBucket", action: refuse(404, "NotFound") });
  await expect(under.store.prepare(never)).rejects.toMatchObject({ outcome: "credentials" });
});

test.each([
  ["does not implement", refuse(501, "NotImplemented")],
  ["forbids", refuse(403, "AccessDenied")],
  ["does not understand", refuse(400, "MalformedXML")],
])("a store that %s a bucket's settings gets a note (S3-18)", async (_name, action) => {
  const under = await place({ bucket: "absent" });
  const settings = ["PutPublicAccessBlock", "PutBucketLifecycleConfiguration"] as const;
  under.server.fault({ operation: settings, times: forever, action });
  await under.store.prepare(never);
  expect(under.notes.filter((note) => note.includes("was created without"))).toHaveLength(2);
});

test("the region is named when a bucket is created, except us-east-1 (S3-18)", async () => {
  const under = await place({ bucket: "absent", store: { region: "eu-central-1" } });
  await expect(under.store.prepare(never)).rejects.toThrow("IllegalLocationConstraintException");
});

async function placeToRead(...faults: readonly Fault[]) {
  const under = await place({ store: { timing: { ...impatient, connectMs: 10_000 } } });
  await expectSaved(under);
  for (const fault of faults) under.server.fault(fault);
  return under;
}

test.each([
  ["before the answer", { action: reset }],
  ["after one byte", { action: change((given) => ({ ...given, cutAfterBytes: 1 })) }],
  ["in the middle, three times", { times: 3, action: change((given) => ({ ...given, cutAfterBytes: 30_000 })) }],
  ["by 503", { times: 2, action: refuse(503, "SlowDown") }],
  ["by silence in the middle", { action: change((given) => ({ ...given, stallAfterBytes: 30_000 })) }],
  ["by a short body that says it is whole", { action: change(shortBody) }],
])("a read that is interrupted %s goes on where it stopped (S3-19)", async (_name, fault) => {
  const under = await placeToRead({ operation: "GetObject", ...fault });
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
});

test("a read that gets on a little at each attempt goes on, however many it takes (S3-19)", async () => {
  const little = change((given) => ({ ...given, cutAfterBytes: 3_000 }));
  const under = await placeToRead({ operation: "GetObject", times: forever, action: little });
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
  expect(count(under, "GetObject")).toBe(Math.ceil(bytes.byteLength / 3_000));
});

test("a read that is stopped while the store is silent ends at once (S3-19)", async () => {
  const under = await place();
  await expectSaved(under);
  under.server.fault({ operation: "GetObject", action: change((given) => ({ ...given, stallAfterBytes: 30_000 })) });
  const stop = new AbortController();
  const file = await under.store.open(first, never);
  let read = 0;
  const reading = async () => {
    for await (const chunk of file.read(0, bytes.byteLength, stop.signal)) {
      read += chunk.byteLength;
      if (read === 30_000) setTimeout(() => stop.abort(new Error("interrupted")), 20);
    }
  };
  await expect(reading()).rejects.toThrow("interrupted");
  expect(read).toBe(30_000);
  expect(count(under, "GetObject")).toBe(1);
});

test("the time that the reader takes over what it got is not the store's (S3-19)", async () => {
  const clock = virtualClock();
  const under = await place({ store: { clock } });
  await expectSaved(under);
  const short = change((given) => ({ ...given, cutAfterBytes: 30_000 }));
  under.server.fault({ operation: "GetObject", times: 2, action: short });
  const file = await under.store.open(first, never);
  const read: Buffer[] = [];
  for await (const chunk of file.read(0, bytes.byteLength, never)) {
    read.push(Buffer.from(chunk));
    await clock.sleep(quick.transferBudgetMs + 1, never); // as a database that builds an index
  }
  expect(Buffer.concat(read).equals(bytes)).toBe(true);
});

test("403 for reading an object names s3:GetObject (S3-16)", async () => {
  const denied = refuse(403, "AccessDenied", "Access Denied");
  const under = await placeToRead({ operation: "GetObject", times: forever, action: denied });
  await expect(contentOf(under.store, first)).rejects.toThrow("s3:GetObject");
});

test("a store that answers without a range is believed when all was asked for, and only then (S3-19)", async () => {
  const under = await placeToRead();
  const etag = `${under.server.bucket(bucket).current(first)?.etag}`;
  const whole: FaultAction = () => ({ status: 200, body: bytes, headers: { etag } });
  under.server.fault({ operation: "GetObject", times: forever, action: whole });
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
  const file = await under.store.open(first, never);
  for (const [offset, length] of [
    [0, 1000],
    [bytes.byteLength - 1000, 1000],
  ] as const) {
    const read = async () => {
      for await (const _ of file.read(offset, length, never)) expect.unreachable();
    };
    await expect(read()).rejects.toThrow("ignores the range");
  }
});

function shortBody(given: FakeAnswer): FakeAnswer {
  const body = (given.body as Buffer).subarray(0, 1000);
  return { ...given, body, headers: { ...given.headers, "content-length": "1000" } };
}

test.each([
  ["resets", { action: reset }, /no answer/],
  ["answers nothing", { action: change((given: FakeAnswer) => ({ ...given, cutAfterBytes: 0 })) }, /cannot read/],
  ["is silent", { action: change((given: FakeAnswer) => ({ ...given, stallAfterBytes: 0 })) }, /no data for 300 ms/],
  ["ignores the range", { action: ignoreRange }, /ignores the range/],
  ["sends another range", { action: otherRange }, /instead of "bytes 5-1004/],
])("a read from a store that always %s fails (S3-19)", async (_name, fault, message) => {
  const under = await placeToRead({ operation: "GetObject", times: forever, ...fault });
  const file = await under.store.open(first, never);
  const read = async () => {
    for await (const _ of file.read(5, 1000, never));
  };
  await expect(read()).rejects.toMatchObject({ outcome: "object-store" });
  await expect(read()).rejects.toThrow(message);
});

function ignoreRange(_run: () => FakeAnswer): FakeAnswer {
  return { status: 200, body: bytes, headers: { etag: '"x"' } };
}

function otherRange(run: () => FakeAnswer): FakeAnswer {
  const given = run();
  return { ...given, headers: { ...given.headers, "content-range": `bytes 6-1005/${bytes.byteLength}` } };
}

test("bytes beyond what was asked for are never delivered (S3-19)", async () => {
  const longer: FaultAction = (run) => {
    const given = run();
    const body = Buffer.concat([given.body as Buffer, Buffer.from("more")]);
    return { ...given, body, headers: { ...given.headers, "content-length": String(body.byteLength) } };
  };
  const under = await placeToRead({ operation: "GetObject", times: forever, action: longer });
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
});

test.each([false, true])(
  "an object that is replaced or removed in mid-read stops the read (S3-20, versions %s)",
  async (versions) => {
    for (const happen of ["replaced", "removed"]) {
      const under = await place({ server: { versions } });
      await expectSaved(under);
      const file = await under.store.open(first, never);
      const then: FaultAction = (run) => {
        const given = run();
        const store = under.server.bucket(bucket);
        if (happen === "replaced") store.plant(first, "x".repeat(bytes.byteLength));
        else store.delete(first, versions ? (store.current(first)?.id ?? null) : null);
        return { ...given, cutAfterBytes: 40_000 };
      };
      under.server.fault({ operation: "GetObject", action: then });
      let read = 0;
      const reading = async () => {
        for await (const chunk of file.read(0, bytes.byteLength, never)) read += chunk.byteLength;
      };
      if (versions && happen === "replaced") {
        await reading(); // the pinned version is still there
        expect(read).toBe(bytes.byteLength);
      } else await expect(reading()).rejects.toThrow("changed or removed while being read");
    }
  },
);

test("an object that is replaced in a store that ignores If-Match is not read (S3-20)", async () => {
  const other = change((given) => ({ ...given, headers: { ...given.headers, etag: '"other"' } }));
  const under = await placeToRead({ operation: "GetObject", times: forever, action: other });
  const file = await under.store.open(first, never);
  const reading = async () => {
    for await (const _ of file.read(0, bytes.byteLength, never)) expect.unreachable();
  };
  await expect(reading()).rejects.toThrow("it was changed while being read");
});

test("an object of the time before its bucket kept versions is read and removed without one (S3-20)", async () => {
  const versionless = change((given) => ({ ...given, headers: { ...given.headers, "x-amz-version-id": "null" } }));
  const under = await placeToRead({ operation: "HeadObject", times: forever, action: versionless });
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
  await under.store.remove(first, never);
  expect(under.server.log.some(({ query }) => query.has("versionId"))).toBe(false);
  expect(under.server.bucket(bucket).current(first)).toBeUndefined();
});

test("a store that tells neither dates nor sizes in its listing is used all the same (S3-21)", async () => {
  const undated = change(({ headers = {}, ...given }) => {
    const { "last-modified": _date, ...rest } = headers;
    const body = String(given.body ?? "").replaceAll(/<(LastModified|Size)>.*?<\/\1>/g, "");
    return { ...given, headers: rest, ...(body !== "" && { body }) };
  });
  const under = await placeWith({ operation: ["HeadObject", "ListObjectsV2"], times: forever, action: undated });
  await expectSaved(under);
  expect(await listed(under.store)).toEqual([{ fileName: first, sizeBytes: 0, modifiedAt: new Date(0) }]);
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
});

test("a listing of many pages has our names only, and none of a folder (S3-21)", async () => {
  const under = await place({ server: { pageSize: 2 } });
  const store = under.server.bucket(bucket);
  const names = Array.from({ length: 9 }, (_, day) => `0${day + 1}-02-2021-15-28-37.tar.gz`);
  const foreign = ["../01-02-2021-15-28-37.tar.gz", `opendistro/${first}`, "index.html", `${first}.bak`, "é\u0001<&>"];
  for (const name of [...names, ...foreign, `x/${first}`, `${first}\n`]) store.plant(name, "data");
  expect((await listed(under.store)).map(({ fileName }) => fileName)).toEqual(names);
});

test.each([
  [
    "the same token",
    (text: string) => text.replace(/<NextC.*Token>/, "<NextContinuationToken>a</NextContinuationToken>"),
  ],
  ["no token", (text: string) => text.replace(/<NextC.*Token>/, "")],
  ["an empty token", (text: string) => text.replace(/<NextC.*Token>/, "<NextContinuationToken/>")],
  ["the same page under new tokens", (text: string) => text.replace(/<Key>.*?<\/Key>/, `<Key>${first}</Key>`)],
  [
    "empty pages under new tokens",
    (_text: string, request: number) =>
      `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>${request}</NextContinuationToken></ListBucketResult>`,
  ],
])("a listing that always has more and gives %s is ended (S3-21)", async (_name, how) => {
  const under = await place({ server: { pageSize: 1 } });
  for (let day = 1; day <= 9; day++) under.server.bucket(bucket).plant(`0${day}-02-2021-15-28-37.tar.gz`, "data");
  let request = 0;
  const spoil = change((given) => ({ ...given, body: how(String(given.body), request++) }));
  under.server.fault({ operation: "ListObjectsV2", times: forever, action: spoil });
  await expect(listed(under.store)).rejects.toMatchObject({ outcome: "object-store" });
});

function buckets(under: FakeUnderTest) {
  const credentials = { accessKeyId: "AKIAFAKEFAKEFAKEFAKE", secretAccessKey: "secret" };
  const options = { endpoint: under.server.url, credentials, timing: quick, clock: virtualClock() };
  return listBuckets("storage-backup--", options, never);
}

test("buckets are listed over many pages, and only those with the prefix and a name (S3-21)", async () => {
  const ours = Array.from({ length: 5 }, (_, index) => `storage-backup--${index}`);
  const under = await place({ server: { pageSize: 2 }, bucket: "absent" });
  for (const name of [...ours, "aaa", "storage", "zzz"]) under.server.bucket(name);
  expect(await buckets(under)).toEqual(ours);
  const everything = ["aaa", ...ours, "zzz"].map((name) => `<Bucket><Name>${name}</Name></Bucket>`).join("");
  const body = `<ListAllMyBucketsResult><Buckets><Bucket/>${everything}</Buckets><ContinuationToken/></ListAllMyBucketsResult>`;
  under.server.fault({ operation: "ListBuckets", action: answer({ status: 200, body }) });
  expect(await buckets(under)).toEqual(ours);
});

test.each([
  ["is a proxy's page", () => "<html><body>Welcome</body></html>", /not the answer of an S3 store/],
  ["repeats one token", tokens("a"), /repeats its pages/],
  ["takes turns with two tokens", tokens("a", "b"), /repeats its pages/],
  ["repeats one page under new tokens", tokens(), /repeats its pages/],
  [
    "is empty under new tokens",
    (request: number) =>
      `<ListAllMyBucketsResult><Buckets/><ContinuationToken>${request}</ContinuationToken></ListAllMyBucketsResult>`,
    /repeats its pages/,
  ],
])("a listing of buckets that always %s is ended (S3-21)", async (_name, bodyOf, message) => {
  const under = await place();
  let request = 0;
  const action: FaultAction = () => ({ status: 200, body: bodyOf(request++) });
  under.server.fault({ operation: "ListBuckets", times: forever, action });
  await expect(buckets(under)).rejects.toMatchObject({ outcome: "object-store" });
  await expect(buckets(under)).rejects.toThrow(message);
});

/** Pages of buckets that go on with these tokens in turn, and differ; without any, one page that goes on with new ones. */
function tokens(...names: readonly string[]): (request: number) => string {
  return (request) => {
    const [token, name] = names.length === 0 ? [request, "same"] : [names[request % names.length], request];
    const page = `<Buckets><Bucket><Name>storage-backup--${name}</Name></Bucket></Buckets>`;
    return `<ListAllMyBucketsResult>${page}<ContinuationToken>${token}</ContinuationToken></ListAllMyBucketsResult>`;
  };
}

test("a proxy's page never passes for an empty listing, an absent object or an object (S3-21)", async () => {
  const page = answer({ status: 200, body: "<html><body>Welcome</body></html>" });
  const under = await placeToRead();
  for (const times of [1, forever]) {
    under.server.clearFaults();
    under.server.fault({ operation: ["ListObjectsV2", "HeadObject"], times, action: page });
    if (times === 1) expect(await listed(under.store)).toHaveLength(1);
    else {
      await expect(listed(under.store)).rejects.toMatchObject({ outcome: "object-store" });
      await expect(under.store.open(first, never)).rejects.toMatchObject({ outcome: "object-store" });
      await expect(under.store.remove(first, never)).rejects.toMatchObject({ outcome: "object-store" });
    }
  }
});

test("an archived object is told as such, and is read once it has been restored (S3-22)", async () => {
  const under = await placeToRead();
  const version = under.server.bucket(bucket).current(first)!;
  version.storageClass = "DEEP_ARCHIVE";
  const opening = under.store.open(first, never);
  const command = `aws s3api restore-object --bucket ${bucket} --key ${first} --restore-request Days=7`;
  await expect(opening).rejects.toMatchObject({ outcome: "object-store", hints: [`run: ${command}`] });
  await expect(opening).rejects.toThrow("it is archived (DEEP_ARCHIVE) and must be restored first");
  version.restore = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"';
  expect((await contentOf(under.store, first)).equals(bytes)).toBe(true);
});

test("an object that is archived between open and read is told as such (S3-22)", async () => {
  const under = await placeToRead();
  const file = await under.store.open(first, never);
  under.server.bucket(bucket).current(first)!.storageClass = "GLACIER";
  const read = async () => {
    for await (const _ of file.read(0, 10, never));
  };
  await expect(read()).rejects.toThrow("archived");
});

test("an object that is locked is not removed, and the refusal says why (S3-23)", async () => {
  const words = "Access Denied because object protected by object lock";
  const under = await placeToRead({ operation: "DeleteObject", action: refuse(403, "AccessDenied", words) });
  await expect(under.store.remove(first, never)).rejects.toThrow(words);
  expect(under.server.bucket(bucket).current(first)).toBeDefined();
});

test("the store's clock is told as of its last answer, be that an error (CK-01)", async () => {
  const under = await place();
  expect(under.store.clockAheadMs()).toBeUndefined();
  const date = (minutes: number) => ({ date: new Date(Date.now() + minutes * 60_000).toUTCString() });
  under.server.fault({ action: change((given) => ({ ...given, headers: { ...given.headers, ...date(-10) } })) });
  await expect(under.store.open(first, never)).rejects.toMatchObject({ outcome: "not-found" });
  expect(under.store.clockAheadMs()).toBeGreaterThan(9 * 60_000);
  await expect(under.store.open(first, never)).rejects.toMatchObject({ outcome: "not-found" });
  expect(Math.abs(under.store.clockAheadMs() ?? 0)).toBeLessThan(60_000);
  under.server.fault({ action: change((given) => ({ ...given, headers: { ...given.headers, date: "yesterday" } })) });
  await expect(under.store.open(first, never)).rejects.toMatchObject({ outcome: "not-found" });
  expect(Math.abs(under.store.clockAheadMs() ?? 0)).toBeLessThan(60_000);
});

test("an endpoint without TLS is allowed, with one note (S3-24)", async () => {
  const under = await place();
  await under.store.prepare(never);
  await expectSaved(under);
  const withoutTls = under.notes.filter((note) => note.includes("without TLS"));
  expect(withoutTls).toHaveLength(1);
  await place({ store: { endpoint: "https://127.0.0.1:9", note: (message) => withoutTls.push(message) } });
  expect(withoutTls).toHaveLength(1);
});

test.each(["ftp://host", "no url", "https://user:secret@host", "minio:secret@minio.kaa:9000"])(
  "%s is refused as an endpoint (S3-24)",
  async (endpoint) => {
    await expect(place({ store: { endpoint } })).rejects.toMatchObject({ outcome: "usage" });
    await expect(place({ store: { endpoint } })).rejects.not.toThrow("secret");
  },
);

test("a certificate that is not trusted is told as such, and not tried again (S3-24)", () => {
  const error = Object.assign(new Error("self-signed certificate"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" });
  const purpose = { doing: "cannot use s3://b", permission: "s3:ListBucket" };
  expect(explain(error, purpose, "host:9000").message).toContain("the certificate of host:9000 is not trusted");
  expect(isTransient(toS3Failure(error))).toBe(false);
});

test.each([
  [
    "of a host with several addresses is told by its first",
    new AggregateError([
      connectError("connect ECONNREFUSED ::1:9000"),
      connectError("connect ECONNREFUSED 127.0.0.1:9000"),
    ]),
    "no answer from host:9000: connect ECONNREFUSED ::1:9000",
  ],
  ["without words is told by its code", connectError(""), "no answer from host:9000: ECONNREFUSED"],
  ["that is no error is told as it is", "refused", "no answer from host:9000: refused"],
])("a failed connection %s (S3-01)", (_name, error, words) => {
  const purpose = { doing: "cannot use s3://b", permission: "s3:ListBucket" };
  expect(explain(error, purpose, "host:9000").message).toBe(`cannot use s3://b: ${words}`);
  if (error instanceof Error) expect(isTransient(toS3Failure(error))).toBe(true);
});

function connectError(message: string): Error {
  return Object.assign(new Error(message), { code: "ECONNREFUSED" });
}

test("a store that cannot be reached is named, within the budget (S3-01)", async () => {
  const under = await place({ store: { endpoint: "http://127.0.0.1:9" } });
  await expect(under.store.prepare(never)).rejects.toThrow(/no answer from 127\.0\.0\.1:9/);
  await expect(listed(under.store)).rejects.toMatchObject({ outcome: "object-store" });
});

test("no key and no signature ever shows in an error or a note (I7)", async () => {
  const echo: FaultAction = (_run, { headers }) =>
    refuse(
      403,
      "SignatureDoesNotMatch",
      `you sent ${headers["authorization"]} AKIAFAKEFAKEFAKEFAKE`,
    )(_run, {} as never);
  for (const operation of ["HeadObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] as const) {
    const under = await placeWith({ operation, times: forever, action: echo });
    const error = await expectRefused(under, { outcome: "credentials" });
    let all = under.notes.join();
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      all += JSON.stringify({ ...cause, message: cause.message, stack: cause.stack });
    }
    expect(all).not.toContain("AKIAFAKE");
    expect(all).not.toContain("a-secret-that-must-not-leak");
    expect(all).not.toMatch(/Signature=[0-9a-f]/);
  }
});
