import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { tool } from "../../src/cli/version.ts";
import { shownVersions } from "../../src/cli/version-command.ts";
import { session } from "./session.ts";

test("--version tells the version of package.json, and that nothing was built", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  expect(await session(["--version"])).toEqual({
    code: 0,
    stdout: `${version} (run from its sources)\n`,
    stderr: "",
  });
});

test("version --client tells the same in every format", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const json = await session(["version", "--client", "-o", "json"]);
  expect(JSON.parse(json.stdout)).toEqual({ schema: 1, client: { version, commit: "unknown" } });
  expect(json).toMatchObject({ code: 0, stderr: "" });
  expect((await session(["version", "--client", "-o", "name"])).stdout).toBe(`${version}\n`);
  expect((await session(["version", "--client"])).stdout).toMatch(/^Client Version: +\d\S+\nCommit: +unknown /);
});

test("the document of version is that of docs/output.md", async () => {
  const page = readFileSync(new URL("../../docs/output.md", import.meta.url), "utf8");
  const documented = JSON.parse(/^```json version\n(.*?)^```$/ms.exec(page)?.[1] ?? "");
  const built = { commit: documented.client.commit, date: documented.client.date };
  const shown = shownVersions(built, documented.server.version).document;
  expect({ schema: 1, ...shown }).toEqual({ ...documented, client: { ...documented.client, version: tool.version } });
});

test("what was built names its commit and the date of it, and the server when there is one", async () => {
  const built = { commit: "0123456789abcdef0123456789abcdef01234567", date: "2026-11-25T12:00:00Z" };
  const { document, table } = shownVersions(built, "v1.34.4");
  expect(document).toMatchObject({ client: built, server: { version: "v1.34.4" } });
  expect(table()).toMatch(
    /Commit: +0123456789abcdef0123456789abcdef01234567\nCommit Date: +2026-11-25T12:00:00Z\nServer Version: +v1\.34\.4\n$/,
  );
});
