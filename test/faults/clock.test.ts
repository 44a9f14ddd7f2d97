/** Clocks and dates (CK-01 to CK-06). The program runs as a process of its own whose clock is set by a module loaded before
 *  it; the servers keep the right time. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test as oneAfterAnother, vi } from "vitest";
import { snapshotName } from "../../src/base/snapshot-name.ts";
import { expectInvariants } from "./invariants.ts";
import { sources, start } from "./program.ts";
import { bucket, type Ended, Stage } from "./stage.ts";

// Most of these wait for a process.
vi.setConfig({ maxConcurrency: 3 });
const test = oneAfterAnother.concurrent;

const pod = "function";
const dayMs = 86_400_000;

/** Another clock for the process: ahead by `KAA_AHEAD_MS`, and by as much as `KAA_JUMP_MS` more after SIGUSR2. */
const otherClock = `
let aheadMs = Number(process.env.KAA_AHEAD_MS ?? 0);
process.on("SIGUSR2", () => (aheadMs += Number(process.env.KAA_JUMP_MS)));
const Right = Date;
globalThis.Date = class Date extends Right {
  constructor(...given) {
    if (given.length === 0) super(Right.now() + aheadMs);
    else super(...given);
  }
  static now() {
    return Right.now() + aheadMs;
  }
};
`;

function begin(stage: Stage, args: readonly string[], env: Readonly<Record<string, string>>) {
  const preload = join(stage.folder, "clock.mjs");
  writeFileSync(preload, otherClock);
  const { PATH = "" } = process.env;
  const all = { ...stage.environment(), PATH, NODE_OPTIONS: `--import=${preload}`, ...env };
  const running = start(args, { env: all, program: sources });
  const ended = running.ended.then(
    ({ code, stdout, stderr, durationMs }): Ended => ({ code: code ?? -1, stdout, stderr, tookMs: durationMs }),
  );
  return { child: running.child, ended };
}

/** A run whose clock says this. */
function at(stage: Stage, now: Date, args: readonly string[]): Promise<Ended> {
  return begin(stage, args, { KAA_AHEAD_MS: String(now.getTime() - Date.now()) }).ended;
}

const clocks = {
  "1970": new Date("1970-01-02T03:04:05Z"),
  "42 days behind": new Date(Date.now() - 42 * dayMs),
  "42 days ahead": new Date(Date.now() + 42 * dayMs),
  "behind 2038": new Date("2038-01-19T03:14:09Z"),
  "2106": new Date("2106-02-07T06:28:17Z"),
} as const;

describe("CK-01: a clock that says", () => {
  test.each(Object.entries(clocks))("%s: a snapshot is made in S3, and the clock is told", async (_, now) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const ended = await at(stage, now, ["create", ...stage.cluster, "--storage", "mariadb"]);
    expect(ended.stderr).toContain("the clock of this machine differs");
    const names = [...stage.s3.bucket(bucket).objects.keys()];
    expect(names[0]?.slice(6, 10)).toBe(String(now.getUTCFullYear()));
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test.each(Object.entries(clocks))("%s: prune judges nothing by it", async (_, now) => {
    await using stage = await Stage.set({ pod });
    for (let count = 0; count < 2; count++) await stage.snapshot();
    const before = await stage.state();
    const ended = await at(stage, now, ["prune", ...stage.cluster, "--keep-last", "1", "--yes"]);
    await expectInvariants(stage, before, ended, { command: "delete", outcome: "refused" });
  });

  test.each(["2242-03-16T12:56:32Z", "9999-12-31T23:59:58Z", "+020000-01-01T00:00:00Z"])(
    "%s, which no snapshot can be dated: refused before anything is dumped",
    async (now) => {
      await using stage = await Stage.set({ pod });
      const before = await stage.state();
      const where = ["--local", "--dir", stage.directory];
      const ended = await at(stage, new Date(now), ["create", ...stage.cluster, "--storage", "mariadb", ...where]);
      expect(ended.stderr).toContain("clock");
      expect(stage.database?.asked).toEqual([]);
      await expectInvariants(stage, before, ended, { command: "create", outcome: "refused" });
    },
  );

  test("the right time, beside a file that is dated in 9000: that is no snapshot's name, and all others are listed", async () => {
    await using stage = await Stage.set({ pod });
    const date = await stage.snapshot();
    const [version] = stage.s3.bucket(bucket).objects.get(`${date}.tar.gz`) ?? [];
    stage.s3.bucket(bucket).plant("01-01-9000-00-00-00.tar.gz", version?.body ?? "");
    const before = await stage.state();
    const listed = await stage.run(["list", ...stage.cluster, "-o", "name"]);
    expect(listed.stdout).toBe(`${date}\n`);
    await expectInvariants(stage, before, listed, { command: "read", outcome: "ok" });
    const verified = await stage.run(["verify", "01-01-9000-00-00-00", ...stage.cluster]);
    await expectInvariants(stage, before, verified, { command: "read", outcome: "usage" });
  });
});

describe("CK-02: the clock is set during a dump, by", () => {
  test.each([
    ["a step of two seconds back", -2000],
    ["an hour back", -3_600_000],
    ["an hour ahead", 3_600_000],
    ["a year ahead", 365 * dayMs],
  ])("%s: the run ends well, and its figures are none of the clock's", async (_, jumpMs) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const where = ["--local", "--dir", stage.directory];
    const running = begin(stage, ["create", ...stage.cluster, "--storage", "mariadb", ...where], {
      KAA_JUMP_MS: String(jumpMs),
    });
    let frames = 0;
    stage.api.onEvent = () => {
      frames += 1;
      if (frames === 30) running.child.kill("SIGUSR2");
    };
    const ended = await running.ended;
    expect(frames).toBeGreaterThan(30);
    expect(ended.stderr).toMatch(/ in \d+ s\)/);
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });

  test("an hour ahead while the pod is silent: its connection does not count as dead", async () => {
    await using stage = await Stage.set();
    const before = await stage.state();
    writeFileSync(join(stage.mariadb, "before-dump"), "touch $folder/silent; sleep 15");
    const where = ["--local", "--dir", stage.directory];
    const running = begin(stage, ["create", ...stage.cluster, "--storage", "mariadb", ...where], {
      KAA_JUMP_MS: String(3_600_000),
    });
    while (stage.shell(`ls '${stage.mariadb}'`).includes("silent") === false) await sleep(50);
    running.child.kill("SIGUSR2");
    const ended = await running.ended;
    expect(ended.stderr).not.toContain("attempt 1 failed");
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});

describe("CK-03: names and dates are UTC, in ASCII,", () => {
  test.each([
    ["Pacific/Kiritimati", "ar_EG.UTF-8", "2026-11-25T12:00:00Z"],
    ["America/St_Johns", "fa_IR.UTF-8", "2026-11-25T01:00:00Z"],
    // Clocks are set forward, and back.
    ["Europe/Berlin", "th_TH.UTF-8", "2026-03-29T01:30:00Z"],
    ["Europe/Berlin", "de_DE.UTF-8", "2026-10-25T00:30:00Z"],
    ["Asia/Kolkata", "tr_TR.UTF-8", "2016-12-31T23:59:59Z"],
  ])("in %s with the locale %s at %s", async (zone, locale, now) => {
    await using stage = await Stage.set({ pod });
    const before = await stage.state();
    const aheadMs = Date.parse(now) - Date.now();
    const where = ["--local", "--dir", stage.directory];
    const args = ["create", ...stage.cluster, "--storage", "mariadb", "-o", "name", ...where];
    const env = { TZ: zone, LANG: locale, LC_ALL: locale, KAA_AHEAD_MS: String(aheadMs) };
    const ended = await begin(stage, args, env).ended;
    const name = ended.stdout.trim();
    const possible = Array.from({ length: 60 }, (_value, second) =>
      snapshotName(new Date(Date.parse(now) + second * 1000)),
    );
    expect(possible).toContain(name);
    const listed = await begin(stage, ["list", "--local", "--dir", stage.directory], env).ended;
    expect(listed.stdout).toMatch(new RegExp(`^${name} `, "m"));
    await expectInvariants(stage, before, ended, { command: "create", outcome: "ok" });
  });
});

/** Copies of a snapshot cannot bear other names, so each is made at its own time. */
async function madeAt(stage: Stage, dates: readonly string[]): Promise<readonly string[]> {
  const names: string[] = [];
  for (const each of dates) {
    const where = ["--local", "--dir", stage.directory];
    const ended = await at(stage, new Date(each), [
      "create",
      ...stage.cluster,
      "--storage",
      "mariadb",
      "-o",
      "name",
      ...where,
    ]);
    if (ended.code !== 0) throw new Error(ended.stderr);
    names.push(ended.stdout.trim());
  }
  return names;
}

test("CK-04: dates whose text sorts otherwise than their time are listed and pruned by time", async () => {
  await using stage = await Stage.set({ pod });
  const dates = ["2021-02-28T10:00:00Z", "2022-01-15T10:00:00Z", "2021-12-01T10:00:00Z"];
  const [oldest = "", newest = "", middle = ""] = await madeAt(stage, dates);
  const before = await stage.state();
  const where = ["--local", "--dir", stage.directory];
  const listed = await stage.run(["list", ...where, "-o", "name"]);
  expect(listed.stdout.trim().split("\n")).toEqual([newest, middle, oldest]);
  await expectInvariants(stage, before, listed, { command: "read", outcome: "ok" });
  const pruned = await stage.run(["prune", ...where, "-n", "kaa", "--keep-last", "1", "--yes"]);
  await expectInvariants(stage, before, pruned, { command: "delete", outcome: "ok", deleted: [middle, oldest] });
  expect([...(await stage.state()).files.keys()]).toEqual([`${newest}.tar.gz`]);
});

test("CK-05: a snapshot dated in the future is kept, flagged, and makes no other one old", async () => {
  await using stage = await Stage.set({ pod });
  const [old = "", future = ""] = await madeAt(stage, ["2021-02-28T10:00:00Z", "2100-01-01T00:00:00Z"]);
  const where = ["--local", "--dir", stage.directory];
  const before = await stage.state();
  const pruned = await stage.run(["prune", ...where, "-n", "kaa", "--keep-last", "1", "--yes"]);
  expect(pruned.stderr).toContain(`${future} is dated in the future`);
  await expectInvariants(stage, before, pruned, { command: "delete", outcome: "attention" });
  expect((await stage.state()).files.has(`${old}.tar.gz`)).toBe(true);
});

describe("CK-06: the date", () => {
  const dates = [
    "31-02-2026-00-00-00",
    "24-11-2026-24-00-00",
    "1-1-26",
    "2026-11-24",
    "yesterday",
    "٢٤-١١-٢٠٢٦-٠٠-٠٠-٠٠",
  ];
  test.each([...dates, "29-02-2025-00-00-00", "24-11-2026-00-00-00\n", " 24-11-2026-00-00-00", "24-11-2026-00-00-60"])(
    "%j is none: the form is told, and no file is asked for",
    async (date) => {
      await using stage = await Stage.set({ pod });
      stage.s3.bucket(bucket);
      const before = await stage.state();
      const old = ["backup", "--namespace", "kaa", "--backup-date", date, "restore_s3_mariadb_backups"];
      const runs = [
        ["verify", date, ...stage.cluster],
        ["describe", date, ...stage.cluster],
        ["delete", date, "--yes", ...stage.cluster],
        ["restore", "--date", date, "--yes", ...stage.cluster],
        [...old, "--kubeconfig", stage.api.kubeconfig],
      ];
      for (const argv of runs) {
        const ended = await stage.run(argv);
        expect(ended.stderr, argv[0]).toContain("DD-MM-YYYY-hh-mm-ss");
        await expectInvariants(stage, before, ended, { command: "read", outcome: "usage" });
      }
      expect(stage.s3.operations.filter((each) => /Object$/.test(each))).toEqual([]);
    },
  );
});
