/** The program itself against scripted servers: each request fails in turn, commands are cut, signals come at each event. The
 *  built program when there is one (test/faults/program.ts). */
import { afterAll, beforeAll, expect, test } from "vitest";
import { change, delay, type FaultAction, loseAnswer, refuse, reset } from "../fakes/s3-server.ts";
import { isBuilt } from "../faults/program.ts";
import { startWorld, type World } from "../faults/world.ts";
import { type MadeFile, noise } from "../snapshot/make.ts";
import { daily } from "../snapshots.ts";
import { mariadbSnapshot } from "./mariadb-snapshot.ts";
import { type Asked, type Given, ProgramAct, type ProgramFault } from "./program-act.ts";
import { commands, places } from "./scene.ts";
import { Random, say, sweep } from "./sweep.ts";

const lanes = 2;
const content = noise(60_000).toString("base64");
const worlds: World[] = [];
let earlier: readonly MadeFile[] = [];
let cases: readonly Given[] = [];

beforeAll(async () => {
  for (let at = 0; at < lanes; at += 1) worlds.push(await startWorld({ content }));
  earlier = await Promise.all(daily(3, new Date("2026-11-20T03:00:00Z")).map((date) => mariadbSnapshot(content, date)));
  cases = await allCases();
});
afterAll(async () => {
  for (const world of worlds) await world.stop();
});

function actIn(lane: number): ProgramAct {
  const world = worlds[lane];
  if (world === undefined) throw new RangeError(`no lane ${lane}`);
  return new ProgramAct(world, earlier, content);
}

const unavailable = { status: 503, body: '{"kind":"Status","message":"etcd is not there","code":503}' } as const;
const forbidden = { status: 403, body: '{"kind":"Status","message":"no","reason":"Forbidden","code":403}' } as const;
const s3Ways: readonly (readonly [way: string, times: number, action: FaultAction])[] = [
  ["error", 1, refuse(500, "InternalError")],
  ["busy", 1, refuse(503, "SlowDown")],
  ["forbidden", Number.POSITIVE_INFINITY, refuse(403, "AccessDenied")],
  ["reset", 1, reset],
  ["lost answer", 1, loseAnswer],
  ["late", 1, delay(150)],
  ["short", 1, change((given) => ({ ...given, cutAfterBytes: Buffer.from(given.body ?? "").byteLength >> 1 }))],
];

async function allCases(): Promise<readonly Given[]> {
  const found: Given[] = [];
  for (const command of commands) {
    for (const place of places) {
      const { asked, complaint } = await actIn(0).play({ command, place, fault: { at: "none" } });
      expect(complaint, `${command} with ${place}, without a fault`).toBeUndefined();
      const { s3, api, exec, events } = asked;
      const points = `${s3.length} requests to S3, ${api.length} to Kubernetes, ${exec.length} commands, ${events} events`;
      say(`program: ${command} with ${place}: ${points}`);
      for (const fault of faultsOf(command, asked)) found.push({ command, place, fault, asked });
    }
  }
  return found;
}

function* faultsOf(command: string, { s3, api, exec, events }: Asked): Generator<ProgramFault, void, void> {
  for (let nth = 1; nth <= s3.length; nth += 1) {
    for (const [way, times, action] of s3Ways) yield { at: "s3", nth, way, times, action };
  }
  for (let nth = 1; nth <= api.length; nth += 1) {
    yield { at: "api", nth, way: "reset", fault: "reset" };
    yield { at: "api", nth, way: "unavailable", fault: unavailable };
    yield { at: "api", nth, way: "forbidden", fault: forbidden };
  }
  const random = new Random(`program: cuts of ${command}`, 0);
  for (let nth = 1; nth <= exec.length; nth += 1) {
    for (const how of ["reset", "fin", "close", "close-1001", "success"] as const)
      yield { at: "exec", nth, how, part: random.next() * 0.9 };
  }
  for (let nth = 1; nth <= events; nth += 1) {
    for (const signal of ["SIGKILL", "SIGINT", "SIGTERM"] as const) yield { at: "process", nth, signal };
  }
}

test("program", async () => {
  say(`program: ${isBuilt ? "the built one" : "its sources"}`);
  await sweep({
    ...{ name: "program", file: "test/sweeps/program.test.ts", cases: cases.length, sample: 24, lanes },
    async run(index, _random, lane) {
      const given = cases[index];
      if (given === undefined) return `no case ${index}`;
      const { complaint } = await actIn(lane).play(given);
      return complaint && `${given.command} with ${given.place}: ${JSON.stringify(given.fault)}: ${complaint}`;
    },
  });
});
