/** Run by memory.test.ts in a process of its own: writes seven streams side by side to a slow consumer, and prints by how many
 *  bytes the process grew meanwhile. */
import { setTimeout as pause } from "node:timers/promises";
import { Meter } from "../../src/base/bytes.ts";
import { writeSnapshot } from "../../src/snapshot/writer.ts";
import { dumpOf, facts, noise, optionsOf, whole } from "./make.ts";

const chunk = noise(1024 * 1024);
const chunksEach = 40;

async function* incompressible(meter: Meter): AsyncGenerator<Uint8Array> {
  for (let index = 0; index < chunksEach; index += 1) {
    meter.update(chunk);
    yield chunk;
  }
}

const dumps = Array.from({ length: 7 }, (_, index) => ({
  storage: `storage${index}`,
  instance: "only",
  async run(output: Parameters<ReturnType<typeof dumpOf>["run"]>[0]) {
    const meter = new Meter();
    const finish = async () => {
      const digest = meter.digest();
      return { plain: digest, stored: digest, by: "pod" as const };
    };
    await output.stream("all", { bytes: incompressible(meter), encoding: "identity", finish });
    return facts;
  },
}));

await whole(writeSnapshot(optionsOf([dumpOf("warm", "up", { name: "a", content: chunk })])));
const before = process.memoryUsage().rss;
let most = before;
for await (const _ of writeSnapshot(optionsOf(dumps, { concurrency: 7, compressionLevel: 1 }))) {
  most = Math.max(most, process.memoryUsage().rss);
  await pause(1);
}
console.log(most - before);
