/** The driver's own record in a snapshot. Nothing secret. */
import { UserError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import type { Account, Server } from "./server.ts";

export interface Facts {
  readonly databases: readonly string[];
  readonly accounts: readonly AccountFact[];
  /** Users whose accounts were administrators' there. */
  readonly kept: readonly string[];
  readonly lostDefiners: readonly AccountFact[];
  /** Storage engines and authentication plugins that the target must have. */
  readonly engines: readonly string[];
  readonly plugins: readonly string[];
  /** True when the history of system-versioned tables is in the dump. */
  readonly history: boolean;
  readonly lowerCaseNames: number;
}

/** An Account that is a JsonValue, too. */
type AccountFact = { readonly [key in keyof Account]: string };

export function factsOf(server: Server, history: boolean): Facts {
  const { databases, kept, engines, lowerCaseNames } = server;
  const ordinary = server.accounts.filter((each) => !kept.includes(each.user));
  const plain = ({ user, host }: Account) => ({ user, host });
  return {
    databases,
    accounts: server.accounts.map(plain),
    kept,
    lostDefiners: server.lostDefiners.map(plain),
    engines,
    plugins: [...new Set(ordinary.flatMap((each) => each.plugins))].filter((each) => each !== ""),
    history,
    lowerCaseNames,
  };
}

/** @throws UserError `invalid-snapshot`. */
export function readFacts(facts: JsonValue): Facts {
  const record = asRecord(facts, "record");
  const list = <T>(key: string, read: (value: JsonValue) => T): readonly T[] => {
    const value = record[key];
    if (!Array.isArray(value)) throw invalid(key);
    return value.map(read);
  };
  const text = (key: string) => (value: JsonValue | undefined) => {
    if (typeof value !== "string") throw invalid(key);
    return value;
  };
  const account = (key: string) => (value: JsonValue) => {
    const { user, host } = asRecord(value, key);
    return { user: text(key)(user), host: text(key)(host) };
  };
  if (typeof record["history"] !== "boolean") throw invalid("history");
  if (typeof record["lowerCaseNames"] !== "number") throw invalid("lowerCaseNames");
  return {
    databases: list("databases", text("databases")),
    accounts: list("accounts", account("accounts")),
    kept: list("kept", text("kept")),
    lostDefiners: list("lostDefiners", account("lostDefiners")),
    engines: list("engines", text("engines")),
    plugins: list("plugins", text("plugins")),
    history: record["history"],
    lowerCaseNames: record["lowerCaseNames"],
  };
}

function asRecord(value: JsonValue, key: string): { readonly [key: string]: JsonValue } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(key);
  return value as { readonly [key: string]: JsonValue }; // what is left of JsonValue; Array.isArray does not narrow readonly arrays
}

function invalid(key: string): UserError {
  return new UserError("invalid-snapshot", `mariadb's "${key}" in the manifest is not what it should be`);
}
