/** Every golden script still says what happens: script.ts has their grammar. `npm run golden` writes them anew; what it
 *  changes is reviewed as any other change. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, test, vi } from "vitest";
import { runScript } from "./script.ts";
import { processEnvironment, World } from "./world.ts";

const folder = new URL("scripts/", import.meta.url);

beforeAll(() => {
  for (const [name, value] of Object.entries(processEnvironment)) vi.stubEnv(name, value);
});
afterAll(() => {
  vi.unstubAllEnvs();
});

test.concurrent.for(readdirSync(folder).sort())("%s", { timeout: 120_000 }, async (name, { expect }) => {
  await using world = new World();
  await world.start();
  const path = new URL(name, folder).pathname;
  const { written, untrue } = await runScript(readFileSync(path, "utf8"), world);
  expect(untrue).toEqual([]);
  await expect(written).toMatchFileSnapshot(path);
});
