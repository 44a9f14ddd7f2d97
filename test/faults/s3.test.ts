/** Faults of an S3 store while it is written to (S3-01 to S3-18), each in a whole run: what a create makes of it. How requests
 *  are tried again is shown in test/stores/s3-faults.test.ts; reading is in s3-read.test.ts. */
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import type { Outcome } from "../../src/base/errors.ts";
import type { FakeAnswer, Operation } from "../fakes/s3-operations.ts";
import { answer, change, type Fault, type FaultAction, hang, loseAnswer, refuse, reset } from "../fakes/s3-server.ts";
import { impatient } from "../stores/places.ts";
import { expectInvariants } from "./invariants.ts";
import type { QuickOptions } from "./quick.ts";
import { bucket, Stage, type StageOptions } from "./stage.ts";

vi.setConfig({ maxConcurrency: 4 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const forever = Number.POSITIVE_INFINITY;
/** The first upload of a run is the one that shows that it may write. */
const afterProbe = 2;

interface Case {
  readonly faults: readonly Fault[];
  readonly outcome: Outcome | readonly Outcome[];
  readonly says?: RegExp;
  readonly stage?: StageOptions;
  readonly quick?: QuickOptions;
  /** False when the fault is that something cannot be removed. */
  readonly clean?: boolean;
}

/** A create that meets the faults, beside a snapshot that is there already. */
async function createMeeting({ faults, outcome, says, stage: set = {}, quick = {}, clean = true }: Case) {
  await using stage = await Stage.set({ pod, ...set });
  await stage.snapshot();
  const before = await stage.state();
  for (const fault of faults) stage.s3.fault(fault);
  const isSilent = faults.some(({ action }) => action === hang || action === doneInSilence);
  const s3 = { ...(isSilent && { timing: impatient }), ...quick.s3 };
  const ended = await (await stage.quickly({ ...quick, s3 })).create();
  if (says !== undefined) expect(ended.stderr).toMatch(says);
  await expectInvariants(stage, before, ended, { command: "create", outcome, clean });
}

const doneInSilence: FaultAction = (run) => {
  run();
  return "hang";
};

const troubles: readonly (readonly [string, FaultAction])[] = [
  ["500", refuse(500, "InternalError")],
  ["503 SlowDown", refuse(503, "SlowDown")],
  ["a reset", reset],
  ["a lost answer", loseAnswer],
  ["silence", hang],
];

describe("a part", () => {
  test.each(troubles)("S3-01: meets %s once: it is sent again", async (_, action) => {
    await createMeeting({ faults: [{ operation: "UploadPart", nth: 2, action }], outcome: "ok" });
  });

  test.each(troubles)("S3-01: always meets %s", async (_, action) => {
    const outcome = action === hang ? (["object-store", "deadline"] as const) : "object-store";
    await createMeeting({ faults: [{ operation: "UploadPart", nth: 2, times: forever, action }], outcome });
  });

  const damageFirstPart: FaultAction = (run, { query }) => {
    const done = run();
    damaged?.(query.get("uploadId") ?? "");
    return done;
  };
  let damaged: ((uploadId: string) => void) | undefined;

  test("S3-02: is damaged in the store", async () => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    damaged = (id) => {
      const part = stage.s3.bucket(bucket).uploads.get(id)?.parts.get(1);
      if (part !== undefined) part.body = Buffer.from(part.body.map((byte, index) => (index === 77 ? byte ^ 1 : byte)));
    };
    stage.s3.fault({ operation: "UploadPart", action: damageFirstPart });
    const ended = await (await stage.quickly()).create();
    expect(ended.stderr).toContain("BadDigest");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "object-store" });
  });

  test.each([
    ["S3-02: has another checksum, says the store", { "x-amz-checksum-crc32": "AAAAAA==" }],
    ["S3-03: has another ETag, says the store", { etag: '"wrong"' }],
    ["S3-03: has no ETag, says the store", { etag: "" }],
  ])("%s", async (_, headers) => {
    const action = change((given) => ({ ...given, headers: { ...given.headers, ...headers } }));
    await createMeeting({ faults: [{ operation: "UploadPart", nth: 2, action }], outcome: "object-store" });
  });
});

const errorDocument = `<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>sorry</Message></Error>`;
const unclear: readonly (readonly [string, FakeAnswer])[] = [
  ["S3-04: 200 with an error", { status: 200, body: errorDocument }],
  ["S3-04: 200 with an error and a final newline", { status: 200, body: `${errorDocument}\n` }],
  ["S3-05: 200 with a proxy's page", { status: 200, body: "<!DOCTYPE html><html><body>Welcome</body></html>" }],
  ["S3-05: 200 with nothing", { status: 200, body: "" }],
  ["S3-05: 200 with white space", { status: 200, body: "  \n \n" }],
];
const complete = "CompleteMultipartUpload";

describe("completing is answered by", () => {
  test.each(unclear)("%s, once", async (_, given) => {
    await createMeeting({ faults: [{ operation: complete, action: answer(given) }], outcome: "ok" });
  });

  test.each(unclear)("%s, although it was done: the object itself decides", async (_, given) => {
    await createMeeting({ faults: [{ operation: complete, action: change(() => given) }], outcome: "ok" });
  });

  test.each(unclear)("%s, always: nothing is published", async (_, given) => {
    const faults = [{ operation: complete, times: forever, action: answer(given) }] as const;
    await createMeeting({ faults, outcome: "object-store" });
  });

  test.each([
    ["404", refuse(404, "NoSuchUpload")],
    ["412", refuse(412, "PreconditionFailed")],
    ["403", refuse(403, "AccessDenied")],
  ])("S3-06: nothing, although it was done, and then by %s", async (_, action) => {
    const faults: readonly Fault[] = [
      { operation: complete, action: loseAnswer },
      { operation: complete, nth: 2, times: forever, action },
    ];
    await createMeeting({ faults, outcome: "ok" });
  });

  test("S3-07: silence, although it was done", async () => {
    await createMeeting({ faults: [{ operation: complete, action: doneInSilence }], outcome: "ok" });
  });

  test("S3-07: silence, always", async () => {
    const faults = [{ operation: complete, times: forever, action: hang }] as const;
    await createMeeting({ faults, outcome: ["deadline", "object-store"] });
  });

  test("S3-08: a conflict with another writer, always", async () => {
    const faults = [
      { operation: complete, times: forever, action: refuse(409, "ConditionalRequestConflict") },
    ] as const;
    await createMeeting({ faults, outcome: ["busy", "object-store"] });
  });
});

describe("the name is taken while the run is under way: that object stays as it is", () => {
  const plantAt = async (operation: Operation, nth: number, set: StageOptions) => {
    await using stage = await Stage.set({ pod, ...set });
    const before = await stage.state();
    stage.s3.fault({
      operation,
      nth,
      action: (run, { key }) => {
        stage.s3.bucket(bucket).plant(key, "theirs");
        return run();
      },
    });
    const ended = await (await stage.quickly()).create();
    expect(ended.stderr).toContain("name is taken");
    const objects = [...stage.s3.bucket(bucket).objects];
    expect(objects.map(([, versions]) => versions.at(-1)?.body.toString())).toEqual(["theirs"]);
    stage.s3.bucket(bucket).objects.clear(); // it is theirs, and no snapshot
    await expectInvariants(stage, before, ended, { command: "create", outcome: "busy" });
  };

  test("S3-09: of a store with conditional writes", () => plantAt(complete, 1, {}));
  test("S3-10: of a store that ignores them", () =>
    plantAt("UploadPart", 2, { s3: { conditionalWrites: "ignore", versions: false } }));
});

test.each(["ignore", "refuse"] as const)(
  "S3-10: a store to which conditional writes mean nothing (%s) is used all the same",
  async (conditionalWrites) => {
    await createMeeting({ faults: [], outcome: "ok", stage: { s3: { conditionalWrites } } });
  },
);

describe("S3-11: after completing", () => {
  test("nothing is there", async () => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const before = await stage.state();
    stage.s3.fault({
      operation: complete,
      action: (run, { key }) => {
        const done = run();
        stage.s3.bucket(bucket).delete(key, null);
        return done;
      },
    });
    const ended = await (await stage.quickly()).create();
    expect(ended.stderr).toContain("reported success, yet");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "object-store" });
  });

  test("something shorter is there: it is removed", async () => {
    await using stage = await Stage.set({ pod, s3: { versions: false } });
    const before = await stage.state();
    stage.s3.fault({
      operation: complete,
      action: (run, { key }) => {
        const done = run();
        const metadata = stage.s3.bucket(bucket).current(key)?.metadata;
        stage.s3.bucket(bucket).plant(key, "cut", { ...metadata });
        return done;
      },
    });
    const ended = await (await stage.quickly()).create();
    expect(ended.stderr).toContain("3 bytes instead of");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "object-store" });
  });

  test("it shows only a moment later", async () => {
    const faults: readonly Fault[] = [{ operation: "HeadObject", nth: 3, times: 2, action: refuse(404, "NotFound") }];
    await createMeeting({ faults, outcome: "ok" });
  });
});

describe("S3-12: an upload that has failed is aborted, and the abort", () => {
  const brokenPart: Fault = { operation: "UploadPart", times: forever, action: refuse(403, "AccessDenied") };
  const abort = "AbortMultipartUpload";

  test.each(troubles.slice(0, 4))("meets %s once: it is repeated", async (_, action) => {
    const faults = [brokenPart, { operation: abort, nth: afterProbe, action }] as const;
    await createMeeting({ faults, outcome: "credentials" });
  });

  test("says that it was done while a late part lands: it is repeated", async () => {
    const faults = [
      brokenPart,
      { operation: abort, nth: afterProbe, times: 2, action: answer({ status: 204 }) },
    ] as const;
    await createMeeting({ faults, outcome: "credentials" });
  });

  test.each([
    ["is denied", refuse(403, "AccessDenied")],
    ["fails", refuse(500, "InternalError")],
    ["has no effect", answer({ status: 204 })],
  ])("%s for ever: what is left is told, with what removes it", async (_, action) => {
    const faults = [brokenPart, { operation: abort, nth: afterProbe, times: forever, action }] as const;
    const says = /aws s3api abort-multipart-upload --bucket storage-backup--kaa --key \S+ --upload-id/;
    await createMeeting({ faults, outcome: "leftovers", says, clean: false });
  });
});

test("S3-13: uploads that killed runs have left open for more than a day are ended, and no others", async () => {
  await using stage = await Stage.set({ pod });
  const before = await stage.state();
  const store = stage.s3.bucket(bucket);
  const open = (key: string, ageHours: number) => {
    const upload = store.createUpload(key, {});
    upload.startedAt = new Date(Date.now() - ageHours * 3_600_000);
    return upload.id;
  };
  open("01-02-2021-15-28-37.tar.gz", 25);
  const young = open("02-02-2021-15-28-37.tar.gz", 23);
  const foreign = open("somebody-elses.bin", 1000);
  const ended = await stage.create();
  expect([...store.uploads.keys()].sort()).toEqual([young, foreign].sort());
  for (const id of [young, foreign]) store.uploads.delete(id);
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

test("S3-14: a store that takes so many parts and no more refuses the rest, and nothing is published", async () => {
  const tooMany = refuse(400, "InvalidArgument", "Part number must be an integer between 1 and 10000");
  const faults = [{ operation: "UploadPart", nth: 5, times: forever, action: tooMany }] as const;
  await createMeeting({ faults, outcome: "object-store", says: /InvalidArgument/ });
});

describe("S3-15: credentials", () => {
  test("that expire are asked for once more", async () => {
    for (const operation of ["UploadPart", complete] as const)
      await createMeeting({ faults: [{ operation, action: refuse(400, "ExpiredToken") }], outcome: "ok" });
  });

  test("that stay expired end the run", async () => {
    const faults = [{ operation: "UploadPart", times: forever, action: refuse(400, "ExpiredToken") }] as const;
    await createMeeting({ faults, outcome: "credentials", says: /session token has expired/ });
  });
});

test.each([-40, -1, 1, 40])("S3-15: a clock that is %i days off is corrected, and told", async (days) => {
  await using stage = await Stage.set({ pod });
  const before = await stage.state();
  stage.s3.buckets.clockAheadMs = days * 86_400_000;
  const ended = await stage.create();
  expect(ended.stderr.match(/the clock of this machine differs/g)).toHaveLength(1);
  await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
});

test("S3-15: a clock that the store never accepts is told as such, though HEAD is refused without a word", async () => {
  const faults = [{ operation: "HeadBucket", times: forever, action: () => silentRefusal(3_600_000) }] as const;
  await createMeeting({ faults, outcome: "credentials", says: /clock of this machine differs/ });
  const sameClock = [{ operation: "HeadBucket", times: forever, action: () => silentRefusal(0) }] as const;
  await createMeeting({ faults: sameClock, outcome: "credentials", says: /s3:ListBucket is not allowed/ });
});

function silentRefusal(aheadMs: number): FakeAnswer {
  return { status: 403, headers: { date: new Date(Date.now() + aheadMs).toUTCString() } };
}

test("S3-15: a bucket in another region is named as such", async () => {
  const faults = [
    { operation: "CreateMultipartUpload", times: forever, action: refuse(301, "PermanentRedirect") },
  ] as const;
  await createMeeting({ faults, outcome: "object-store", says: /another region/ });
});

describe("S3-16: the right is missing, and is named", () => {
  test.each([
    ["HeadBucket", "s3:ListBucket"],
    ["CreateMultipartUpload", "s3:PutObject"],
    ["AbortMultipartUpload", "s3:AbortMultipartUpload"],
    ["UploadPart", "s3:PutObject"],
    [complete, "s3:PutObject"],
    ["HeadObject", "s3:GetObject"],
  ] as const)("for %s: %s", async (operation, right) => {
    const faults = [{ operation, times: forever, action: refuse(403, "AccessDenied") }] as const;
    const clean = operation !== "AbortMultipartUpload";
    await createMeeting({ faults, outcome: "credentials", says: new RegExp(right), clean });
  });

  test("for the bucket's key", async () => {
    const action = refuse(403, "AccessDenied", "User is not authorized to perform: kms:GenerateDataKey on resource: x");
    const faults = [{ operation: "CreateMultipartUpload", times: forever, action }] as const;
    await createMeeting({ faults, outcome: "credentials", says: /kms:GenerateDataKey/ });
  });
});

describe("S3-17: the bucket", () => {
  test("is somebody else's", async () => {
    await using stage = await Stage.set({ pod });
    stage.s3.bucket(bucket).owner = "999999999999";
    const before = await stage.state();
    const ended = await stage.create();
    expect(ended.stderr).toContain("the bucket is not ours");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "credentials" });
  });

  test.each(["a".repeat(64), "ab", "With-Capitals", "a..b", "../x"])("cannot be called %s", async (name) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await stage.create("--bucket", name);
    expect(stage.s3.log).toEqual([]);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "usage" });
  });
});

describe("S3-18: a bucket that is not there", () => {
  test.each([
    ["that another run creates at the same time", "meanwhile", "ok"],
    ["that may not be created", refuse(403, "AccessDenied"), "credentials"],
    ["whose name somebody else has", refuse(409, "BucketAlreadyExists"), ["object-store", "credentials"]],
    ["that is created and does not appear", "never", "object-store"],
  ] as const)("%s", async (_, action, outcome) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const create: FaultAction = (run, request) => {
      if (action === "never") return { status: 200 };
      if (action !== "meanwhile") return action(run, request);
      stage.s3.bucket(bucket);
      return run();
    };
    stage.s3.fault({ operation: "CreateBucket", times: forever, action: create });
    const ended = await (await stage.quickly()).create();
    await expectInvariants(stage, before, ended, { command: "create", outcome });
  });

  test.each([
    ["does not know", refuse(501, "NotImplemented")],
    ["forbids", refuse(403, "AccessDenied")],
  ])("and whose settings the store %s: the snapshot is made, and that is told", async (_, action) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const settings = ["PutPublicAccessBlock", "PutBucketLifecycleConfiguration"] as const;
    stage.s3.fault({ operation: settings, times: forever, action });
    const ended = await (await stage.quickly()).create();
    expect(ended.stderr.match(/was created without/g)).toHaveLength(2);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});
