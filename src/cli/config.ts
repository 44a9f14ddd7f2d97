/** The configuration file: what an operator would otherwise say with the same flags each time, and what no flag can say of
 *  single storages. docs/configuration.md describes it, and is checked against the tables here.
 *
 *  It is never looked for in the folder that the program is called from (docs/decisions/0009). */
import type { Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Node, Pair, YAMLMap } from "yaml";
import { messageOf, UserError } from "../base/errors.ts";
import { driverNames, isDriverName, loadDriver } from "../drivers/registry.ts";
import type { StorageOverride } from "../storages.ts";
import type { Io } from "./io.ts";
import { nearest } from "./nearest.ts";
import { settingNamed, settings, type Value } from "./settings.ts";

/** Where a credential is: never the credential itself. */
export type CredentialSource =
  | { readonly env: string }
  | { readonly file: string }
  | { readonly secret: { readonly name: string; readonly key: string } };

export interface Config {
  /** undefined when there is no file. */
  readonly path: string | undefined;
  /** By the names of flags. */
  readonly settings: Readonly<Record<string, Value>>;
  /** By the names of storages. */
  readonly overrides: Readonly<Record<string, StorageOverride>>;
  /** By the names of variables. */
  readonly credentials: Readonly<Record<string, CredentialSource>>;
}

export const noConfig: Config = { path: undefined, settings: {}, overrides: {}, credentials: {} };

const longestBytes = 1024 * 1024;

/** Reads the file that `--config` or KAA_BACKUP_CONFIG names, else the usual one if there is any.
 *  @throws UserError `usage` with file, line and key; `credentials` when others may write to it. */
export async function readConfig(flag: string | undefined, io: Io): Promise<Config> {
  const named = flag ?? io.env["KAA_BACKUP_CONFIG"];
  if (flag === "") throw new UserError("usage", "--config needs the name of a file");
  const path = named || usualPath(io);
  let facts: Stats;
  let content: string;
  try {
    facts = await stat(path);
    if (!named && !facts.isFile()) return noConfig;
    if (facts.size > longestBytes) throw new RangeError(`more than ${longestBytes} bytes`);
    content = await readFile(path, "utf8");
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === "ENOENT"; // node's system errors carry a code
    if (isAbsent && !named) return noConfig;
    throw new UserError("usage", `cannot read the configuration "${path}": ${messageOf(error)}`, { cause: error });
  }
  refuseIfForeign(path, facts);
  return await parseConfig(path, content);
}

function usualPath({ env }: Io): string {
  const folder = env["XDG_CONFIG_HOME"] || env["APPDATA"] || join(env["HOME"] || homedir(), ".config");
  return join(folder, "kaa-backup", "kaa-backup.yaml");
}

/** Who writes this file decides where backups go and what is overwritten. */
function refuseIfForeign(path: string, { mode, uid }: Stats): void {
  const ourUid = process.getuid?.();
  if (ourUid === undefined) return; // Windows
  const isForeign = uid !== ourUid && uid !== 0;
  if ((mode & 0o022) === 0 && !isForeign) return;
  throw new UserError("credentials", `the configuration "${path}" can be written by others`, {
    hints: [isForeign ? `chown it to yourself` : `chmod go-w "${path}"`],
  });
}

/** @throws UserError `usage` naming line and key. */
export async function parseConfig(path: string, content: string): Promise<Config> {
  const { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } = await import("yaml");
  const lineCounter = new LineCounter();
  const document = parseDocument(content, { lineCounter, uniqueKeys: true });
  const fail = (at: number | undefined, message: string, hints: readonly string[] = []) =>
    new UserError("usage", `${path}:${lineCounter.linePos(at ?? 0).line}: ${message}`, { hints });
  const [syntax] = document.errors;
  if (syntax !== undefined) throw fail(syntax.pos[0], (syntax.message.split("\n")[0] ?? "").replace(/ at line .*/, ""));

  const at = (node: unknown) => (node as Node | null | undefined)?.range?.[0]; // every parsed node has a range
  const entriesOf = (node: unknown, where: string) => {
    if (isAlias(node)) throw fail(at(node), `${where}: aliases are not supported`);
    if (!isMap(node)) throw fail(at(node), `${where}: expected keys and values`);
    return (node as YAMLMap).items.map((pair: Pair) => {
      const name = isScalar(pair.key) ? String(pair.key.value) : "";
      if (name === "" || !isScalar(pair.key)) throw fail(at(pair.key ?? node), `${where}: a key must be a text`);
      if (isAlias(pair.value)) throw fail(at(pair.value), `${name}: aliases are not supported`);
      return { name, key: pair.key as Node, value: pair.value };
    });
  };
  const scalarOf = (node: unknown, name: string): string | number | boolean => {
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
    throw fail(at(node), `${name}: expected one value`);
  };
  const textOf = (node: unknown, name: string): string => {
    const value = scalarOf(node, name);
    if (typeof value === "string" && value !== "") return value;
    throw fail(at(node), `${name}: expected a text${value === "" ? "" : `, not ${value}: put it in quotes`}`);
  };
  const unknownKey = (
    entry: { readonly name: string; readonly key: Node },
    names: readonly string[],
    where: string,
  ) => {
    const meant = nearest(entry.name, names);
    const hint = meant === undefined ? `keys: ${names.join(", ")}` : `did you mean ${meant}?`;
    return fail(at(entry.key), `${where}unknown key "${entry.name}"`, [hint]);
  };

  const found: { [name: string]: Value } = {};
  const overrides: { [storage: string]: StorageOverride } = {};
  const credentials: { [variable: string]: CredentialSource } = {};
  if (document.contents === null) return { path, settings: {}, overrides, credentials };
  for (const entry of entriesOf(document.contents, "the file")) {
    if (entry.name === "storages") {
      for (const storage of entriesOf(entry.value, "storages")) await readStorage(storage);
      continue;
    }
    const setting = settingNamed(entry.name);
    if (setting === undefined) throw unknownKey(entry, [...Object.keys(settings), "storages"], "");
    const items = isSeq(entry.value) ? entry.value.items.map((item) => scalarOf(item, entry.name)) : undefined;
    try {
      found[entry.name] = setting.read(items ?? scalarOf(entry.value, entry.name));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      throw fail(at(entry.value ?? entry.key), error.message, error.hints);
    }
  }
  refuseContradictions();
  return { path, settings: found, overrides, credentials };

  async function readStorage(entry: { readonly name: string; readonly key: Node; readonly value: unknown }) {
    const { name: storage } = entry;
    if (!isDriverName(storage)) throw unknownKey(entry, driverNames, "storages: ");
    const keys = ["selector", "container", "parallelism", "credentials"];
    let override: StorageOverride = {};
    for (const part of entriesOf(entry.value, storage)) {
      if (part.name === "selector") {
        const labels = entriesOf(part.value, "selector").map(({ name, value }) => [name, textOf(value, name)] as const);
        if (labels.length === 0) throw fail(at(part.key), "selector: expected at least one label");
        override = { ...override, selector: Object.fromEntries(labels) };
      } else if (part.name === "container") override = { ...override, container: textOf(part.value, "container") };
      else if (part.name === "parallelism") {
        const value = scalarOf(part.value, "parallelism");
        if (!Number.isInteger(value) || Number(value) < 1 || Number(value) > 7)
          throw fail(at(part.value ?? part.key), "parallelism: expected a number from 1 to 7");
        override = { ...override, parallelism: Number(value) };
      } else if (part.name === "credentials") {
        const { credentialVariables } = await loadDriver(storage);
        for (const credential of entriesOf(part.value, "credentials")) {
          if (!credentialVariables.includes(credential.name))
            throw unknownKey(credential, credentialVariables, `${storage}: credentials: `);
          credentials[credential.name] = sourceOf(credential);
        }
      } else throw unknownKey(part, keys, `${storage}: `);
    }
    overrides[storage] = override;
  }

  /** One of env, file, secret. A value itself has no place here: files are copied, shown and kept under version control. */
  function sourceOf({ name, key, value }: { readonly name: string; readonly key: Node; readonly value: unknown }) {
    const instead = [`say where it is: ${name}: {env: VARIABLE}, {file: PATH} or {secret: {name: NAME, key: KEY}}`];
    if (!isMap(value)) throw fail(at(key), `${name}: a credential itself is not taken from this file`, instead);
    const [source, ...others] = entriesOf(value, name);
    if (source === undefined || others.length > 0)
      throw fail(at(key), `${name}: expected one of env, file, secret`, instead);
    if (source.name === "env") return { env: textOf(source.value, "env") };
    if (source.name === "file") return { file: textOf(source.value, "file") };
    if (source.name !== "secret") throw unknownKey(source, ["env", "file", "secret"], `${name}: `);
    const parts = new Map(entriesOf(source.value, "secret").map((each) => [each.name, textOf(each.value, each.name)]));
    const [secretName, secretKey] = [parts.get("name"), parts.get("key")];
    if (secretName === undefined || secretKey === undefined || parts.size > 2)
      throw fail(at(source.key), `${name}: a secret has a name and a key`, instead);
    return { secret: { name: secretName, key: secretKey } };
  }

  function refuseContradictions(): void {
    const lineOf = (name: string) => {
      const pair = (document.contents as unknown as YAMLMap).items.find(
        (each) => isScalar(each.key) && each.key.value === name,
      );
      return at(pair?.key);
    };
    for (const [name, { beats }] of Object.entries(settings)) {
      const other = beats?.find((each) => isOn(found[each]));
      if (isOn(found[name]) && other !== undefined) throw fail(lineOf(name), `${name} and ${other} exclude each other`);
    }
  }

  function isOn(value: Value | undefined): boolean {
    return value !== undefined && value !== false;
  }
}
