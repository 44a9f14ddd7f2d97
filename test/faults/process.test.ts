/** The program as a process: signals at many points of a run, no readers, no descriptors, little memory, a defect. Points are
 *  requests and frames as the servers see them, so that production code needs no hooks. */
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { outcomes } from "../../src/base/errors.ts";
import { type FaultAction, loseAnswer, refuse } from "../fakes/s3-server.ts";
import { type Ended, isBuilt, peakBytesOf, type Running, sources, start } from "./program.ts";
import { stateOf, violations } from "./violations.ts";
import { bucket, filesIn, lock, type Place, startWorld, type World } from "./world.ts";

let world: World;
beforeEach(async () => {
  world = await startWorld();
});
afterEach(async () => {
  await world.stop();
});

const create = (place: Place) => ["create", "--storage", "mariadb", "--compression", "client", ...world.flags(place)];

/** Events of a run that nothing disturbs. */
async function eventsOf(args: readonly string[]): Promise<number> {
  world.countTo(0, () => {});
  const ended = await start(args, { env: world.env }).ended;
  expect(ended.code, ended.stderr).toBe(0);
  return world.events;
}

/** A snapshot is named by the second in which its run began. */
const nextSecond = () => sleep(1000 - (Date.now() % 1000) + 5);

function signalledAt(nth: number, signal: NodeJS.Signals, args: readonly string[]): Promise<Ended> {
  let running: Running | undefined;
  world.countTo(nth, () => running?.child.kill(signal));
  running = start(args, { env: world.env });
  return running.ended;
}

/** So many of 1 … n, the first and the last among them. */
function spread(n: number, count: number): number[] {
  return [...new Set(Array.from({ length: count }, (_, index) => 1 + Math.round((index * (n - 1)) / (count - 1))))];
}

describe.each(["s3", "directory"] as const)("create to %s", (place) => {
  test.each([
    ["SIGINT", "interrupted (PR-01)"],
    ["SIGTERM", "terminated (PR-02)"],
  ] as const)("%s at any point ends it within 20 s as %s, and leaves nothing", async (signal, title) => {
    const outcome = title.startsWith("interrupted") ? "interrupted" : "terminated";
    const points = await eventsOf(create(place));
    for (const nth of spread(points, 8)) {
      await nextSecond();
      const earlier = stateOf(world);
      const ended = await signalledAt(nth, signal, create(place));
      expect(await violations(world, earlier, { ended }), `${signal} at ${nth} of ${points}`).toEqual([]);
      const isPublished = filesIn(world, place).size > earlier.files[place].size;
      // At the last events the snapshot is there, and the run may just as well say so.
      expect(ended.code === outcomes[outcome].code || (ended.code === 0 && isPublished), ended.stderr).toBe(true);
      if (ended.code !== 0) expect(isPublished).toBe(false);
      expect(ended.durationMs).toBeLessThan(20_000);
      expect(lock.holder(world), "the lock was left behind").toBe("");
    }
  });

  test("SIGKILL at any point: no false snapshot, none lost, and the next run leaves nothing of it (PR-03)", async () => {
    const points = await eventsOf(create(place));
    for (const nth of spread(points, 8)) {
      await nextSecond();
      const earlier = stateOf(world);
      const ended = await signalledAt(nth, "SIGKILL", create(place));
      expect(await violations(world, earlier, { killed: true, ended }), `SIGKILL at ${nth} of ${points}`).toEqual([]);
      lock.expire(world);
    }
    await nextSecond();
    const earlier = stateOf(world);
    const next = await start(create(place), { env: world.env }).ended;
    expect(next.code, next.stderr).toBe(0);
    expect(await violations(world, earlier, { ended: next }), "what the killed runs have left").toEqual([]);
  });
});

describe("a second SIGINT", () => {
  test.each([
    ["text", /^left without cleaning up: /m],
    [
      "json",
      /"exit_error","outcome":"interrupted","message":"left without cleaning up: [^"]*","hints":\[\],"exit_code":130\}\n$/,
    ],
  ])("leaves at once, though the store does not answer the abort, and says so in %s (PR-01)", async (format, said) => {
    const running = start([...create("s3"), "--log-format", format], { env: world.env });
    // The first one is the probe's.
    world.s3.fault({
      operation: "AbortMultipartUpload",
      nth: 2,
      times: Number.POSITIVE_INFINITY,
      action: () => "hang",
    });
    world.s3.fault({
      operation: "UploadPart",
      action: (run) => {
        running.child.kill("SIGINT");
        return run();
      },
    });
    await seen("AbortMultipartUpload", 2);
    const askedAt = performance.now();
    running.child.kill("SIGINT");
    const ended = await running.ended;
    expect(performance.now() - askedAt).toBeLessThan(2_000);
    expect(ended).toMatchObject({ code: outcomes.interrupted.code });
    expect(ended.stderr).toMatch(said);
  });
});

async function seen(operation: string, times: number): Promise<void> {
  for (const end = Date.now() + 30_000; Date.now() < end; await sleep(10)) {
    if (world.s3.operations.filter((each) => each === operation).length >= times) return;
  }
  throw new Error(`${operation} was not asked for ${times} times`);
}

describe("nobody listens", () => {
  test("SIGHUP ends it cleanly (PR-04)", async () => {
    const points = await eventsOf(create("s3"));
    await nextSecond();
    const earlier = stateOf(world);
    const ended = await signalledAt(points >> 1, "SIGHUP", create("s3"));
    expect(ended.code, ended.stderr).toBe(outcomes["hung-up"].code);
    expect(await violations(world, earlier, { ended })).toEqual([]);
  });

  test.each(["stdout", "stderr", "both"] as const)(
    "a reader of %s that has gone does not fail the backup (PR-04)",
    async (which) => {
      const earlier = stateOf(world);
      const running = start([...create("s3"), "-o", "json"], { env: world.env });
      if (which !== "stderr") running.child.stdout?.destroy();
      if (which !== "stdout") running.child.stderr?.destroy();
      expect(await running.ended).toMatchObject({ code: 0 });
      expect(await violations(world, earlier)).toEqual([]);
      expect(filesIn(world, "s3").size).toBe(earlier.files.s3.size + 1);
    },
  );
});

test("a dump larger than the memory that it may take goes through 256 MiB (PR-05)", async () => {
  const dumpBytes = 400 * 1024 * 1024;
  await world.stop();
  world = await startWorld({ content: "a line of a dump that compresses well\n".repeat(dumpBytes / 38) });
  const running = start([...create("directory"), "-o", "json"], { env: world.env });
  const peakBytes = await peakBytesOf(running);
  const ended = await running.ended;
  expect(ended.code, ended.stderr).toBe(0);
  expect(JSON.parse(ended.stdout)).toMatchObject({ complete: true });
  expect(peakBytes).toBeGreaterThan(20 * 1024 * 1024); // it was seen at all
  expect(peakBytes).toBeLessThan((isBuilt ? 256 : 320) * 1024 * 1024); // Node's own memory is larger
});

describe("stopped for longer than the lock holds", () => {
  test.each(["UploadPart", "CompleteMultipartUpload"] as const)(
    "it publishes nothing when continued at %s (PR-06)",
    async (operation) => {
      const earlier = stateOf(world);
      const running = start(create("s3"), { env: world.env });
      world.s3.fault({
        operation: operation === "UploadPart" ? "UploadPart" : "HeadObject",
        nth: operation === "UploadPart" ? 1 : 2, // the last request before Complete
        action: async (run) => {
          running.child.kill("SIGSTOP");
          await sleep(200);
          lock.giveTo(world, "somebody else");
          setTimeout(() => running.child.kill("SIGCONT"), 200);
          return run();
        },
      });
      const ended = await running.ended;
      expect(ended.code, ended.stderr).toBe(outcomes.busy.code);
      expect(await violations(world, earlier, { ended })).toEqual([]);
      expect(filesIn(world, "s3").size).toBe(earlier.files.s3.size);
      expect(lock.holder(world)).toBe("somebody else");
    },
  );
});

describe("a defect that nobody catches", () => {
  test.each(["throw new Error('defect')", "void Promise.reject(new Error('defect'))"])(
    "%s: cleaned up, told as ours, exit code 1 (PR-07)",
    async (code) => {
      const earlier = stateOf(world);
      const preload = `${world.env["HOME"]}/defect.mjs`;
      writeFileSync(preload, `process.on("SIGUSR2", () => { ${code} })`);
      const running = start(create("s3"), {
        env: { ...world.env, NODE_OPTIONS: `--import=${preload}` },
        program: sources,
      });
      world.s3.fault({
        operation: "UploadPart",
        action: async (run) => {
          running.child.kill("SIGUSR2");
          await sleep(300);
          return run();
        },
      });
      const ended = await running.ended;
      expect(ended.code, ended.stderr).toBe(outcomes.internal.code);
      expect(ended.stderr).toContain("error internal: defect");
      expect(await violations(world, earlier, { ended })).toEqual([]);
      expect(filesIn(world, "s3").size).toBe(earlier.files.s3.size);
    },
  );
});

test("with too few file descriptors it says so, and leaves nothing (PR-08)", async () => {
  const codes: (number | null)[] = [];
  for (let limit = 64; !codes.includes(outcomes.resources.code) && limit > 3; limit -= limit > 24 ? 20 : 1) {
    await nextSecond();
    const earlier = stateOf(world);
    // A process with this capability could raise its limit, and bun does.
    const through = ["sh", "-c", `ulimit -n ${limit} && exec setpriv --bounding-set=-sys_resource "$@"`, "-"];
    const ended = await start(create(limit % 2 === 0 ? "s3" : "directory"), { env: world.env, through }).ended;
    codes.push(ended.code);
    if (ended.code !== outcomes.ok.code) expect(ended.code, ended.stderr).toBe(outcomes.resources.code);
    expect(await violations(world, earlier, { ended })).toEqual([]);
  }
  expect(codes[0]).toBe(outcomes.ok.code);
  expect(codes).toContain(outcomes.resources.code);
});

describe("a signal at the last moment", () => {
  const cases: readonly (readonly [
    string,
    "CompleteMultipartUpload" | "HeadObject",
    (kill: () => void) => FaultAction,
  ])[] = [
    [
      "while publishing",
      "CompleteMultipartUpload",
      (kill) => (run) => {
        const given = run();
        kill();
        return given;
      },
    ],
    [
      "while publishing, whose answer is lost",
      "CompleteMultipartUpload",
      (kill) => (run, request) => {
        kill();
        return loseAnswer(run, request);
      },
    ],
  ];
  test.each(cases)(
    "%s: published whole or not at all, and the exit code says which (PR-09)",
    async (_, operation, action) => {
      const earlier = stateOf(world);
      const running = start(create("s3"), { env: world.env });
      world.s3.fault({ operation, action: action(() => running.child.kill("SIGTERM")) });
      const ended = await running.ended;
      expect(await violations(world, earlier, { ended })).toEqual([]);
      const isPublished = filesIn(world, "s3").size > earlier.files.s3.size;
      expect(ended.code, ended.stderr).toBe(isPublished ? 0 : outcomes.terminated.code);
    },
  );
});

test("a signal while a failed run cleans up does not keep it from ending that (PR-10)", async () => {
  const earlier = stateOf(world);
  const running = start(create("s3"), { env: world.env });
  world.s3.fault({ operation: "UploadPart", times: Number.POSITIVE_INFINITY, action: refuse(403, "AccessDenied") });
  world.s3.fault({
    operation: "AbortMultipartUpload",
    nth: 2, // the first is the probe's
    action: async (run) => {
      running.child.kill("SIGINT");
      await sleep(500);
      return run();
    },
  });
  const ended = await running.ended;
  expect(ended.code, ended.stderr).toBe(outcomes.interrupted.code);
  expect(await violations(world, earlier, { ended })).toEqual([]);
  expect(world.s3.bucket(bucket).uploads.size).toBe(0);
});
