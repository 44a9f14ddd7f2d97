/** Anything that survives a round trip through JSON. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** An object of somebody else's JSON: every field is looked at before it is used. */
export type Fields = Readonly<Record<string, unknown>>;

/** What JSON says; undefined for text that is none. */
export function fromJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined; // a SyntaxError: it throws nothing else
  }
}

/** The value when it is an object, else an empty one. */
export function record(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {}; // checked: an object
}

/** The objects of a list; anything else is an empty list. */
export function list(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(record) : [];
}

/** The value when it is text, else "". */
export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
