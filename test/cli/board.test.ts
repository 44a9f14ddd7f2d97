/** What is known about the tasks of a run. */
import { expect, test } from "vitest";
import { Board } from "../../src/cli/board.ts";

const mega = 1_000_000;

function boardWithClock() {
  const clock = { nowMs: 0 };
  return { board: new Board(() => clock.nowMs), clock };
}

test("a planned task waits, runs and ends, and keeps its place", () => {
  const { board, clock } = boardWithClock();
  board.plan([{ task: "b", expectedBytes: 10 * mega }, { task: "a" }]);
  expect(board.tasks.map((each) => [each.name, each.state])).toEqual([
    ["b", "waiting"],
    ["a", "waiting"],
  ]);
  board.start("a", { doing: "dumping" });
  clock.nowMs = 2000;
  board.progress("a", 4 * mega);
  expect(board.end("a", "done", "3 tables")).toMatchObject({
    state: "done",
    bytes: 4 * mega,
    elapsedMs: 2000,
    bytesPerSecond: 2 * mega,
    summary: "3 tables",
  });
  expect(board.tasks.map((each) => [each.name, each.state])).toEqual([
    ["b", "waiting"],
    ["a", "done"],
  ]);
});

test("what is left is told from the rate of the last seconds, not of the whole", () => {
  const { board, clock } = boardWithClock();
  board.plan([{ task: "a", expectedBytes: 200 * mega }]);
  board.start("a", { doing: "dumping" });
  for (let second = 1; second <= 20; second++) {
    clock.nowMs = second * 1000;
    board.progress("a", second * mega);
  }
  // ten times as fast from here on
  for (let second = 21; second <= 35; second++) {
    clock.nowMs = second * 1000;
    board.progress("a", 20 * mega + (second - 20) * 10 * mega);
  }
  const [task] = board.tasks;
  expect(task?.bytesPerSecond).toBe(10 * mega);
  expect(task?.leftMs).toBe(3000);
});

test("a task that stalls shows it, and promises no end", () => {
  const { board, clock } = boardWithClock();
  board.start("a", { doing: "dumping", expectedBytes: 100 * mega });
  clock.nowMs = 1000;
  board.progress("a", 50 * mega);
  expect(board.tasks[0]?.leftMs).toBe(1000);
  for (let second = 2; second <= 15; second++) {
    clock.nowMs = second * 1000;
    board.progress("a", 50 * mega);
  }
  expect(board.tasks[0]).toMatchObject({ bytesPerSecond: 0, leftMs: undefined });
});

test("nobody knows what is left of more than was expected", () => {
  const { board, clock } = boardWithClock();
  board.start("a", { doing: "dumping", expectedBytes: mega });
  clock.nowMs = 1000;
  board.progress("a", 2 * mega);
  expect(board.tasks[0]?.leftMs).toBeUndefined();
});

test("a task that is tried again has the rate of the new attempt", () => {
  const { board, clock } = boardWithClock();
  board.start("a", { doing: "dumping", expectedBytes: 100 * mega });
  clock.nowMs = 1000;
  board.progress("a", 90 * mega);
  clock.nowMs = 2000;
  board.progress("a", 0);
  clock.nowMs = 3000;
  board.progress("a", mega);
  expect(board.tasks[0]).toMatchObject({ bytes: mega, bytesPerSecond: mega });
});

test("at the end a running task is stopped, a waiting one was never started, and steps have no row", () => {
  const { board } = boardWithClock();
  board.start("verify", { doing: "reading" });
  board.plan([{ task: "a" }, { task: "b" }, { task: "c" }]);
  board.start("a", { doing: "dumping" });
  board.end("c", "failed", "no pod");
  expect(board.clear().map((each) => [each.name, each.state])).toEqual([
    ["a", "stopped"],
    ["b", "waiting"],
    ["c", "failed"],
  ]);
  expect(board.tasks).toEqual([]);
});

test("what begins anew waits again; what has failed stays failed", () => {
  const { board } = boardWithClock();
  board.plan([{ task: "a" }, { task: "b" }]);
  board.start("a", { doing: "dumping" });
  board.start("b", { doing: "dumping" });
  board.end("a", "done", "");
  board.end("b", "failed", "no");
  board.plan([{ task: "a" }]);
  expect(board.tasks.map((each) => [each.name, each.state])).toEqual([
    ["a", "waiting"],
    ["b", "failed"],
  ]);
});
