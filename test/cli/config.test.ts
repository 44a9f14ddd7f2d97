/** The configuration file: what is understood, and that nothing else is. test/cli/scripts/configuration.txt shows it at work. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parseConfig, readConfig } from "../../src/cli/config.ts";
import type { Io } from "../../src/cli/io.ts";
import { addSettings, settings, settingsIn, variableOf } from "../../src/cli/settings.ts";

const folder = mkdtempSync(join(tmpdir(), "kaa-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");
const ioWith = (env: Record<string, string>) => ({ env: { HOME: folder, ...env } }) as unknown as Io;

test("the page's example is understood", async () => {
  const example = /```yaml\n([^`]*)```/.exec(page)?.[1] ?? "";
  await expect(parseConfig("example", example)).resolves.toMatchObject({
    settings: { context: "production", parallelism: 4, bucket: "backups-of-kaa" },
    overrides: { postgresql: { selector: { app: "our-postgres" }, container: "postgres", parallelism: 1 } },
    credentials: {
      POSTGRES_ROOT_PWD: { secret: { name: "our-postgres", key: "admin-password" } },
      VAULT_TOKEN: { file: "/run/secrets/vault-token" },
      MARIADB_ROOT_PWD: { env: "OUR_MARIADB_PASSWORD" },
    },
  });
});

test.each(Object.keys(settings))("the page tells of %s", (name) => {
  expect(page).toContain(`\`${name}\``);
});

test.each(["", "# nothing", "{}"])("%o says nothing", async (content) => {
  await expect(parseConfig("f", content)).resolves.toMatchObject({ settings: {}, overrides: {}, credentials: {} });
});

const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghi"].map((c) => `${c}: &${c} [${`*${String.fromCharCode(c.charCodeAt(0) - 1)},`.repeat(9)}]`).join("\n")}`;

describe.each([
  ["a list", "- namespace", 1, /expected keys and values/],
  ["a text", "namespace", 1, /expected keys and values/],
  ["a key twice", "namespace: a\nnamespace: b", 2, /unique/],
  ["an unknown key", "\n\nnamespaces: a", 3, /unknown key "namespaces"/],
  ["a token", "token: abc", 1, /unknown key "token"/],
  ["an inherited name", "toString: a", 1, /unknown key "toString"/],
  ["a number for a text", "namespace: 5", 1, /namespace: expected a text/],
  ["a list for a text", "namespace: [a]", 1, /namespace: expected a text/],
  ["a map for a text", "namespace: {a: b}", 1, /namespace: expected one value/],
  ["nothing for a text", "namespace:", 1, /namespace: expected one value/],
  ["a text for a number", "parallelism: x", 1, /parallelism: expected a number from 1 to 7/],
  ["a fraction", "parallelism: 1.5", 1, /parallelism/],
  ["a percentage for a part", "min-size-ratio: 50", 1, /min-size-ratio: expected a number above 0/],
  ["a number out of range", "compression-level: 10", 1, /compression-level: expected a number from 1 to 9/],
  ["a choice that is none", "compression: zstd", 1, /compression: expected one of auto, pod, client/],
  ["no duration", "request-timeout: soon", 1, /request-timeout: "soon" is no duration/],
  ["yes for true", "local: yes", 1, /local: expected true or false/],
  ["what contradicts itself", "bucket: b\nlocal: true", 2, /exclude each other/],
  ["an alias", "namespace: &a kaa\nbucket: *a", 2, /aliases are not supported/],
  ["an alias bomb", bomb, 1, /unknown key "a"/],
  ["bad YAML", "namespace: kaa\nbad: [a", 2, /./],
  [
    "no number of a storage's at once",
    "storages:\n  mariadb:\n    parallelism: 0",
    3,
    /parallelism: expected a number from 1/,
  ],
  ["an unknown part of a storage", "storages:\n  mariadb:\n    contaner: x", 3, /unknown key "contaner"/],
  ["an empty selector", "storages:\n  mariadb:\n    selector: {}", 3, /at least one label/],
  ["a number as label", "storages:\n  mariadb:\n    selector:\n      a: 1", 4, /put it in quotes/],
  [
    "another storage's credential",
    "storages:\n  mariadb:\n    credentials:\n      VAULT_TOKEN: {env: X}",
    4,
    /unknown key "VAULT_TOKEN"/,
  ],
  [
    "a credential itself",
    "storages:\n  mariadb:\n    credentials:\n      MARIADB_ROOT_PWD: hunter2",
    4,
    /is not taken from this file/,
  ],
  [
    "two sources",
    "storages:\n  mariadb:\n    credentials:\n      MARIADB_ROOT_PWD: {env: X, file: Y}",
    4,
    /expected one of/,
  ],
  [
    "half a secret",
    "storages:\n  mariadb:\n    credentials:\n      MARIADB_ROOT_PWD: {secret: {name: x}}",
    4,
    /a name and a key/,
  ],
])("%s", (_, content, line, message) => {
  test(`is a usage error of line ${line}, and shows no value of a credential`, async () => {
    const error: Error & { outcome?: string } = await parseConfig("f", content).then(
      () => expect.fail("it was accepted"),
      (thrown) => thrown,
    );
    expect(error.outcome).toBe("usage");
    expect(error.message).toMatch(new RegExp(`^f:${line}: `));
    expect(error.message).toMatch(message);
    expect(JSON.stringify(error)).not.toContain("hunter2");
  });
});

test("a file that others can write to is refused, one of a megabyte too", async () => {
  const path = join(folder, "config.yaml");
  writeFileSync(path, "namespace: kaa");
  chmodSync(path, 0o666);
  await expect(readConfig(path, ioWith({}))).rejects.toMatchObject({ outcome: "credentials" });
  chmodSync(path, 0o600);
  await expect(readConfig(path, ioWith({}))).resolves.toMatchObject({ settings: { namespace: "kaa" } });
  writeFileSync(path, `# ${"x".repeat(1 << 20)}`);
  await expect(readConfig(path, ioWith({}))).rejects.toMatchObject({ outcome: "usage" });
});

test("a variable is read as the setting wants it; one that is no setting, or empty, is left alone", () => {
  const env = { KAA_BACKUP_LOCAL: "true", KAA_BACKUP_STORAGE: "a, b", KAA_BACKUP_PARALLELISM: "2" };
  const others = {
    KAA_BACKUP_NAMESPACE: "",
    KAA_BACKUP_SERVICE_HOST: "10.0.0.1",
    KAA_BACKUP_PORT: "tcp://10.0.0.1:80",
  };
  expect(settingsIn(ioWith({ ...env, ...others }))).toEqual({ local: true, storage: ["a", "b"], parallelism: 2 });
  expect(() => settingsIn(ioWith({ KAA_BACKUP_LOCAL: "1" }))).toThrow("KAA_BACKUP_LOCAL: expected true or false");
  expect(variableOf("release-name-prefix")).toBe("KAA_BACKUP_RELEASE_NAME_PREFIX");
});

test("of flags, variables and file the first that says something holds, and ends what it excludes", () => {
  const merged = (flags: Record<string, unknown>, ...places: Parameters<typeof addSettings>[1]) => {
    addSettings(flags, places, (name) => name !== "strict");
    return flags;
  };
  expect(merged({ bucket: "flag" }, { bucket: "variable" }, { bucket: "file" })).toEqual({ bucket: "flag" });
  expect(merged({}, { bucket: "variable" }, { local: true, namespace: "x" })).toEqual({
    bucket: "variable",
    namespace: "x",
  });
  expect(merged({ local: true }, { bucket: "variable" })).toEqual({ local: true });
  expect(merged({ local: false }, { local: true, bucket: "b" })).toEqual({ local: false, bucket: "b" });
  expect(merged({ all: true }, { storage: ["a"] }, { strict: true })).toEqual({ all: true });
  const everywhere = { "all-namespaces": true };
  expect(merged({ ...everywhere }, { bucket: "b" }, { local: true, dir: "d" })).toEqual(everywhere);
});
