/** What all scripts that run in pods have in common. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { wrapperScript } from "../../src/cluster/wrapper.ts";

const folder = fileURLToPath(new URL("../../src/drivers", import.meta.url));

/** The texts that modules named scripts.ts export, by name. */
async function scripts(): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = { wrapperScript };
  for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!/(^|\/)scripts\.ts$/.test(file)) continue;
    const module: Record<string, unknown> = await import(`${folder}/${file}`);
    for (const [name, value] of Object.entries(module)) if (typeof value === "string") found[`${file} ${name}`] = value;
  }
  return found;
}

test("no here-document is larger than a page: dash and busybox would leave a process that nobody waits for", async () => {
  const documents = Object.entries(await scripts()).flatMap(([name, text]) =>
    [...text.matchAll(/<<('?)(\w+)'?[^\n]*\n([\s\S]*?\n)\2$/gm)].map(([, quote, , content = ""]) => ({
      name,
      // What a shell fills in makes it longer: names of accounts, not many.
      limit: quote === "" ? 3000 : 4096,
      bytes: Buffer.byteLength(content),
    })),
  );
  expect(documents.length).toBeGreaterThan(5);
  expect(documents.filter(({ bytes, limit }) => bytes > limit)).toEqual([]);
});
