/** What the environment and the configuration file may say in place of a flag of the same name. Flags beat the environment,
 *  which beats the file, which beats what is written in the code. */
import { UserError } from "../base/errors.ts";
import { driverFlags } from "../drivers/registry.ts";
import { parseDurationMs } from "./duration.ts";
import type { Io } from "./io.ts";

export type Value = string | number | boolean | readonly string[];

export interface Setting {
  /** From the text of a variable, or from what the file has.
   *  @throws UserError `usage`, naming the key. */
  read(given: string | number | boolean | readonly (string | number | boolean)[]): Value;
  /** What this one excludes: when both are said, the one in the stronger place holds. */
  readonly beats?: readonly string[];
}

function refuse(name: string, expected: string): never {
  throw new UserError("usage", `${name}: expected ${expected}`);
}

const text = (name: string): Setting => ({
  read: (given) => (typeof given === "string" && given !== "" ? given : refuse(name, "a text (numbers in quotes)")),
});
const yesNo = (name: string): Setting => ({
  read: (given) => (/^(true|false)$/.test(String(given)) ? String(given) === "true" : refuse(name, "true or false")),
});
const whole = (name: string, from: number, to: number): Setting => ({
  read: (given) => {
    const value = typeof given === "string" && /^\d+$/.test(given) ? Number(given) : given;
    const isFine = typeof value === "number" && Number.isInteger(value) && value >= from && value <= to;
    return isFine ? value : refuse(name, `a number from ${from} to ${to}`);
  },
});
const part = (name: string): Setting => ({
  read: (given) => {
    const value = typeof given === "string" && /^\d*\.?\d+$/.test(given) ? Number(given) : given;
    return typeof value === "number" && value > 0 && value <= 1 ? value : refuse(name, "a number above 0, up to 1");
  },
});
const oneOf = (name: string, values: readonly string[]): Setting => ({
  read: (given) => (values.includes(String(given)) ? String(given) : refuse(name, `one of ${values.join(", ")}`)),
});
const texts = (name: string): Setting => ({
  read: (given) => {
    const all = (Array.isArray(given) ? given.map(String) : String(given).split(",")).map((each) => each.trim());
    return all.length > 0 && all.every((each) => each !== "") ? all : refuse(name, "names");
  },
});
const duration = (name: string): Setting => ({
  read: (given) => {
    parseDurationMs(String(given), name);
    return String(given);
  },
});

/** In the order of docs/configuration.md. No token, no date, no answer to a question: those are of one call. */
export const settings: Readonly<Record<string, Setting>> = {
  kubeconfig: text("kubeconfig"),
  context: text("context"),
  cluster: text("cluster"),
  user: text("user"),
  namespace: text("namespace"),
  server: text("server"),
  as: text("as"),
  "as-group": texts("as-group"),
  "as-uid": text("as-uid"),
  "certificate-authority": text("certificate-authority"),
  "tls-server-name": text("tls-server-name"),
  "request-timeout": duration("request-timeout"),
  "release-name-prefix": text("release-name-prefix"),
  storage: { ...texts("storage"), beats: ["all"] },
  all: { ...yesNo("all"), beats: ["storage"] },
  local: { ...yesNo("local"), beats: ["bucket", "all-namespaces"] },
  bucket: { ...text("bucket"), beats: ["local", "all-namespaces"] },
  strict: yesNo("strict"),
  parallelism: whole("parallelism", 1, 7),
  compression: oneOf("compression", ["auto", "pod", "client"]),
  "compression-level": whole("compression-level", 1, 9),
  "min-size-ratio": part("min-size-ratio"),
  ...Object.fromEntries(Object.keys(driverFlags).map((name) => [name, text(name)])),
  "metrics-url": text("metrics-url"),
  output: text("output"),
  quiet: { ...yesNo("quiet"), beats: ["verbose"] },
  verbose: { ...yesNo("verbose"), beats: ["quiet"] },
  color: oneOf("color", ["auto", "always", "never"]),
  "log-format": oneOf("log-format", ["text", "json"]),
  dir: { ...text("dir"), beats: ["all-namespaces"] },
};

export function settingNamed(name: string): Setting | undefined {
  return Object.hasOwn(settings, name) ? settings[name] : undefined;
}

/** "KAA_BACKUP_RELEASE_NAME_PREFIX" */
export function variableOf(name: string): string {
  return `KAA_BACKUP_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** What the environment says. Variables of other names that begin so are left alone: Kubernetes makes some, for a Service
 *  that is called kaa-backup. `dir` says where, not that: it counts only with `local`, and is read where that is decided.
 *  @throws UserError `usage` naming the variable. */
export function settingsIn({ env }: Io): Readonly<Record<string, Value>> {
  const found: { [name: string]: Value } = {};
  for (const [name, setting] of Object.entries(settings)) {
    const value = env[variableOf(name)];
    if (!value || name === "dir") continue;
    try {
      found[name] = setting.read(value);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      throw new UserError("usage", error.message.replace(name, variableOf(name)), { hints: error.hints });
    }
  }
  return found;
}

/** Adds to what flags say, what weaker places say: strongest place first. What a stronger place excludes is left out.
 *  @param accepts whether the command has such a flag. */
export function addSettings(
  flags: Record<string, unknown>,
  places: readonly Readonly<Record<string, Value>>[],
  accepts: (name: string) => boolean,
): void {
  for (const place of places) {
    const said = new Set(Object.keys(flags).filter((name) => flags[name] !== undefined && flags[name] !== false));
    for (const [name, value] of Object.entries(place)) {
      const isExcluded = settingNamed(name)?.beats?.some((other) => said.has(other)) === true;
      if (flags[name] === undefined && accepts(name) && !isExcluded) flags[name] = value;
    }
  }
}
