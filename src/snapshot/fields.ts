import type { Digest } from "../base/bytes.ts";
import { UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";

/** A JSON object of which nothing is known yet. Every method gives a checked value, or throws UserError `invalid-snapshot`
 *  that names the place. Keys that nobody asks for are passed over. */
export class Fields {
  readonly #values: { readonly [key: string]: JsonValue };
  readonly #place: string;

  /** @param place for messages: "manifest.json", "instances[2]". */
  constructor(value: JsonValue, place: string) {
    if (!isObject(value)) throw invalid(place, "not an object");
    this.#values = value;
    this.#place = place;
  }

  any(key: string): JsonValue {
    const value = this.#values[key];
    if (value === undefined) throw this.refuse(key, "missing");
    return value;
  }

  text(key: string): string {
    const value = this.any(key);
    if (typeof value !== "string") throw this.refuse(key, "not a text");
    return value;
  }

  /** Text that is safe to print on one line: no control characters. */
  line(key: string): string {
    return this.textThat(key, (text) => !/\p{Cc}/u.test(text), "not a single line");
  }

  textThat(key: string, isRight: (text: string) => boolean, complaint: string): string {
    const text = this.text(key);
    if (!isRight(text)) throw this.refuse(key, complaint);
    return text;
  }

  oneOf<T extends string>(key: string, ...allowed: readonly T[]): T {
    const text = this.text(key);
    const found = allowed.find((each) => each === text);
    if (found === undefined) throw this.refuse(key, `none of ${allowed.join(", ")}`);
    return found;
  }

  flag(key: string): boolean {
    const value = this.any(key);
    if (typeof value !== "boolean") throw this.refuse(key, "neither true nor false");
    return value;
  }

  /** A whole number from 0 on that floating point holds exactly. */
  count(key: string, most: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.any(key);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0 || Object.is(value, -0)) {
      throw this.refuse(key, "not a whole number");
    }
    if (value > most) throw this.refuse(key, `more than ${most}`);
    return value;
  }

  sha256(key: string): string {
    return this.textThat(key, (text) => /^[0-9a-f]{64}$/.test(text), "not a SHA-256");
  }

  /** ISO 8601 in UTC, as Date.toISOString writes it. */
  time(key: string): string {
    const isTime = (text: string) => !Number.isNaN(Date.parse(text)) && new Date(text).toISOString() === text;
    return this.textThat(key, isTime, "not a time");
  }

  digest(key: string): Digest {
    const fields = this.object(key);
    return { bytes: fields.count("bytes"), sha256: fields.sha256("sha256") };
  }

  object(key: string): Fields {
    return new Fields(this.any(key), this.#at(key));
  }

  /** @param parse gets each element and its place. */
  list<T>(key: string, parse: (value: JsonValue, place: string) => T): T[] {
    const value = this.any(key);
    if (!isList(value)) throw this.refuse(key, "not a list");
    return value.map((element, index) => parse(element, `${this.#at(key)}[${index}]`));
  }

  /** The names in an object whose keys are free. */
  get keys(): string[] {
    return Object.keys(this.#values);
  }

  /** The error for a value that is of the right type and yet wrong; throw it. */
  refuse(key: string, complaint: string): UserError {
    return invalid(this.#at(key), complaint);
  }

  #at(key: string): string {
    return `${this.#place}.${key}`;
  }
}

/** The error for content that no writer of this format makes. */
export function invalid(place: string, complaint: string, cause?: unknown): UserError {
  return new UserError("invalid-snapshot", `${place}: ${complaint}`, { cause });
}

/** An element of a list that is a text. */
export function textElement(value: JsonValue, place: string): string {
  if (typeof value !== "string") throw invalid(place, "not a text");
  return value;
}

function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === "object" && value !== null && !isList(value);
}
