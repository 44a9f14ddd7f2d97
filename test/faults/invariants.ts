/** What holds after every fault, whatever it was (the design's I1 to I8). */
import { expect } from "vitest";
import { type Outcome, outcomes } from "../../src/base/errors.ts";
import { isSnapshotFileName } from "../../src/stores/store.ts";
import { canariesIn } from "./canaries.ts";
import { bucket, type Ended, type Stage, type State } from "./stage.ts";

export interface Expected {
  /** What ran. "read": it may change nothing at all. */
  readonly command: "create" | "restore" | "read" | "delete";
  readonly outcome: Outcome | readonly Outcome[];
  /** Longest time it may take; machines are busy. Default: a minute. */
  readonly withinMs?: number;
  /** What a restore may have done to the target. Default: nothing, unless it succeeded. */
  readonly target?: "untouched" | "restored" | "partly";
  /** Snapshots that may be gone. */
  readonly deleted?: readonly string[];
  /** False when the fault is that an upload cannot be ended. Default: true. */
  readonly clean?: boolean;
}

/** How long a pod may take to notice that we have gone. 5 s are promised; this machine's /proc is larger than a pod's. */
const quietMs = 40_000;

/** Takes the parts' faults away, then looks at everything. */
export async function expectInvariants(stage: Stage, before: State, ended: Ended, expected: Expected): Promise<void> {
  stage.behave();
  const allowed = [expected.outcome].flat();
  expect(
    allowed.map((each) => outcomes[each].code),
    ended.stderr,
  ).toContain(ended.code);
  const hasPublished = ended.code === outcomes.ok.code || ended.code === outcomes.attention.code;
  const after = await stage.state();
  expectEarlierUnchanged(before, after, expected);
  await expectOnlyWhole(stage, before, after, hasPublished && expected.command === "create");
  expectSource(before, after, ended, expected);
  expect(await stage.api.quiet(quietMs), "I3: a process was left in the pod").toBe(true);
  if (expected.clean !== false) expectClean(stage, after);
  if (!hasPublished) expectClearError(ended, expected);
  expect(ended.tookMs, "I6: it took too long").toBeLessThan(expected.withinMs ?? 60_000);
  expectNoSecrets(stage, ended);
}

function expectEarlierUnchanged(before: State, after: State, { deleted = [] }: Expected): void {
  for (const [place, kept] of [
    [before.objects, after.objects],
    [before.files, after.files],
  ] as const) {
    for (const [name, hash] of place) {
      if (deleted.some((each) => name.startsWith(each))) continue;
      expect(kept.get(name), `I2: "${name}" is not as it was`).toBe(hash);
    }
  }
}

async function expectOnlyWhole(stage: Stage, before: State, after: State, mayPublish: boolean): Promise<void> {
  const news = [
    ...[...after.objects]
      .filter(([each, hash]) => !before.objects.has(each) && hash !== "deleted")
      .map(([each]) => each),
    ...[...after.files.keys()].filter((each) => !before.files.has(each)),
  ].filter((each) => isSnapshotFileName(each.split(" ")[0] ?? ""));
  if (!mayPublish) expect(news, "I1: something was published").toEqual([]);
  for (const each of news) {
    const [fileName = ""] = each.split(" ");
    const place = after.files.has(each) ? ["--local", "--dir", stage.directory] : [];
    const verified = await stage.run(["verify", fileName, ...stage.cluster, ...place]);
    expect(verified.code, `I1: ${verified.stderr}`).toBe(0);
  }
}

function expectSource(before: State, after: State, ended: Ended, { command, target }: Expected): void {
  const ends = target ?? (ended.code === 0 && command === "restore" ? "restored" : "untouched");
  if (command !== "restore" || ends === "untouched") {
    expect(after.loads, "I3/I8: something was loaded").toBe(before.loads);
    expect(after.source, "I3/I8: the database was changed").toBe(before.source);
  } else if (ends === "restored") expect(after.loads, "nothing was restored").toBeGreaterThan(before.loads);
}

function expectClean(stage: Stage, after: State): void {
  const open = [...(stage.s3.buckets.all.get(bucket)?.uploads.values() ?? [])].map(({ key }) => key);
  expect(open, "I4: an upload is open").toEqual([]);
  expect(
    [...after.files.keys()].filter((name) => !isSnapshotFileName(name)),
    "I4: a file was left",
  ).toEqual([]);
  const names = [...after.objects.keys()].map((each) => `kaa-${each.replace(/(\.partial)?\.tar\.gz .*$/, "")}`);
  const outside = Object.keys(stage.engine?.snapshots ?? {});
  expect(
    outside.filter((name) => !names.includes(name)),
    "I4: a part outside the archive is of no snapshot",
  ).toEqual([]);
  for (const { body } of stage.api.leases.values())
    expect(body["spec"], "I4: the lock is held").toMatchObject({ holderIdentity: "" });
}

/** what / effect / cause / what to try, once, in the words of the outcome. */
function expectClearError({ stderr, code }: Ended, expected: Expected): void {
  const { command } = expected;
  const errors = [...stderr.matchAll(/^error ([\w-]+): .+/gm)];
  expect(errors.length, `I5: one error, not this: ${stderr}`).toBe(1);
  const outcome = errors[0]?.[1] as Outcome; // looked up in the next line
  expect(outcomes[outcome]?.code, `I5: ${stderr}`).toBe(code);
  // A defect of ours is told with its stack, and what it did nobody can know.
  if (outcome === "internal" && [expected.outcome].flat().includes("internal")) return;
  expect(outcome, `I5: ${stderr}`).not.toBe("internal");
  expect(stderr, "I5: a stack").not.toMatch(/^ +at .+:\d+:\d+/m);
  // Who has stopped a run knows what to do.
  if (code < outcomes["hung-up"].code) expect(stderr, "I5: nothing to try").toMatch(/^ {2}try: {4}\S/m);
  if (command !== "read" && outcome !== "usage") expect(stderr, "I5: no effect").toMatch(/^ {2}effect: \S/m);
}

function expectNoSecrets(stage: Stage, { stdout, stderr }: Ended): void {
  expect(canariesIn(stdout), "I7: stdout").toEqual([]);
  expect(canariesIn(stderr), "I7: stderr").toEqual([]);
  expect(
    stage.api.requests.filter(({ url }) => canariesIn(decodeURIComponent(url)).length + canariesIn(url).length > 0),
    "I7: a request to Kubernetes",
  ).toEqual([]);
  const logged = stage.s3.log.filter(({ key, query, headers }) => {
    const text = `${key} ${query} ${JSON.stringify(headers)}`;
    return canariesIn(text).length + canariesIn(decodeURIComponent(text.replaceAll("%", "%25"))).length > 0;
  });
  expect(logged, "I7: a request to S3").toEqual([]);
  expect([...stage.commandLines.found], "I7: a command line").toEqual([]);
}
