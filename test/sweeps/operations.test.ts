/** Each operation of create, restore, verify and prune fails in turn, in each way that it can. Afterwards nothing is false,
 *  nothing is lost, nothing is left, and the next run works. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeS3 } from "../fakes/s3-server.ts";
import type { MadeFile } from "../snapshot/make.ts";
import { noise } from "../snapshot/make.ts";
import { daily } from "../snapshots.ts";
import { mariadbSnapshot } from "./mariadb-snapshot.ts";
import { commands, type Given, places, Scene } from "./scene.ts";
import { seams, waysOf } from "./seams.ts";
import { say, sweep } from "./sweep.ts";

const lanes = 6;
const content = noise(30_000).toString("base64");
const servers: FakeS3[] = [];
let earlier: readonly MadeFile[] = [];
let cases: readonly Given[] = [];

beforeAll(async () => {
  for (let at = 0; at < lanes; at += 1) servers.push(await new FakeS3({ minPartBytes: 1 }).start());
  earlier = await Promise.all(daily(3, new Date("2026-11-20T03:00:00Z")).map((date) => mariadbSnapshot(content, date)));
  cases = await allCases();
});
afterAll(async () => {
  for (const server of servers) await server[Symbol.asyncDispose]();
});

function sceneOf(lane: number): Scene {
  const server = servers[lane];
  if (server === undefined) throw new RangeError(`no lane ${lane}`);
  return new Scene(server, earlier, content);
}

/** A run without a fault tells the operations of each seam. */
async function allCases(): Promise<readonly Given[]> {
  const found: Given[] = [];
  for (const command of commands) {
    for (const place of places) {
      for (const seam of seams) {
        if (seam === (place === "s3" ? "disk" : "s3")) continue;
        const none = { seam, nth: -1, way: "error" } as const;
        const { operations, complaint } = await sceneOf(0).play({ command, place, fault: none });
        expect(complaint, `${command} with ${place}, without a fault`).toBeUndefined();
        say(`operations: ${command} with ${place}: ${operations.length} points at ${seam}`);
        operations.forEach((operation, nth) => {
          for (const way of waysOf(seam, operation)) found.push({ command, place, fault: { seam, nth, way } });
        });
      }
    }
  }
  return found;
}

test("operations", async () => {
  await sweep({
    ...{ name: "operations", file: "test/sweeps/operations.test.ts", cases: cases.length, sample: 150, lanes },
    async run(index, _random, lane) {
      const given = cases[index];
      if (given === undefined) return `no case ${index}`;
      const { operations, complaint } = await sceneOf(lane).play(given);
      const { command, place, fault } = given;
      const where = `${command} with ${place}: ${fault.way} at ${fault.seam} ${fault.nth} (${operations[fault.nth]})`;
      return complaint && `${where}: ${complaint}`;
    },
  });
});
