/** The notices that the licences of bundled packages ask for. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../program.ts";

/** Text of the file THIRD-PARTY-NOTICES. Packages whose licence reads the same share one text.
 *  @param packages folders, from the root. */
export function noticesText(packages: readonly string[], bunVersion: string): string {
  const byText = new Map<string, string[]>();
  for (const folder of packages) {
    const { title, text } = noticeOf(folder);
    byText.set(text, [...(byText.get(text) ?? []), title]);
  }
  const bun = readFileSync(join(root, "plugin/release/bun-notice.txt"), "utf8").replaceAll("{{version}}", bunVersion);
  const parts = [...byText].map(([text, titles]) => `${titles.join("\n")}\n\n${text}`);
  return [`kubectl kaa-backup holds the following work of others.\n`, bun, ...parts].join(`\n${"=".repeat(80)}\n\n`);
}

function noticeOf(folder: string): { readonly title: string; readonly text: string } {
  const path = join(root, folder);
  const { name, version, license } = JSON.parse(readFileSync(join(path, "package.json"), "utf8")) as {
    readonly [key in "name" | "version" | "license"]: string; // npm installs no package without the first two
  };
  const title = `${name} ${version} (${license})`;
  const files = readdirSync(path).filter((each) => /^(licen[cs]e|copying|notice)/i.test(each));
  const text = files.map((each) => readFileSync(join(path, each), "utf8").trim()).join("\n\n");
  if (text !== "") return { title, text: `${text}\n` };
  // Some packages of AWS carry no text; LICENSE beside this file is the text of theirs, too.
  if (license === "Apache-2.0") return { title, text: "The Apache License 2.0, as in the file LICENSE.\n" };
  throw new Error(`package ${name} comes without the text of its licence "${license}"`);
}
