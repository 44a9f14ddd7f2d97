/** kubectl's JSONPath templates: text, and in braces paths, quoted text, `range` and `end`. The paths themselves are RFC 9535
 *  (docs/decisions/0007): kubectl's own dialect but for its escapes in keys, `{['a\.b']}`. */
import type { JSONPathQuery } from "json-p3";
import { messageOf, UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";

type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "path"; readonly query: JSONPathQuery }
  | { readonly kind: "range"; readonly query: JSONPathQuery; readonly parts: Part[] };

/** Reads a template. As in kubectl, what a path does not find is empty text, and no newline is added.
 *  @throws UserError `usage` for a template that cannot be read. */
export async function compileTemplate(template: string): Promise<(value: JsonValue) => string> {
  const { compile } = await import("json-p3");
  const root: Part[] = [];
  const open: Part[][] = [root];
  for (const { text, inBraces } of pieces(template)) {
    const parts = open.at(-1) ?? root;
    if (!inBraces) parts.push({ kind: "text", text });
    else if (text === "end") {
      if (open.length === 1) throw wrong(template, "{end} without {range …}");
      open.pop();
    } else if (/^range\s/.test(text)) {
      const range: Part & { kind: "range" } = { kind: "range", query: queryOf(text.slice("range".length)), parts: [] };
      parts.push(range);
      open.push(range.parts);
    } else if (/^["']/.test(text)) parts.push({ kind: "text", text: unquoted(text, template) });
    else parts.push({ kind: "path", query: queryOf(text) });
  }
  if (open.length > 1) throw wrong(template, "{range …} without {end}");
  if (!template.includes("{")) throw wrong(template, "its paths stand in braces");
  return (value) => textOf(root, value);

  /** A path begins at the current value: the document, or in a range its element. */
  function queryOf(text: string): JSONPathQuery {
    const path = text.trim().replace(/^[$@]/, "");
    try {
      return compile(/^[.[]|^$/.test(path) ? `$${path}` : `$.${path}`);
    } catch (error) {
      throw wrong(template, messageOf(error));
    }
  }
}

function textOf(parts: readonly Part[], value: JsonValue): string {
  return parts
    .map((part) => {
      if (part.kind === "text") return part.text;
      const found = part.query.query(value as Parameters<JSONPathQuery["query"]>[0]).values() as JsonValue[]; // nothing but JSON in it
      return part.kind === "path"
        ? found.map(scalarText).join(" ")
        : found.map((each) => textOf(part.parts, each)).join("");
    })
    .join("");
}

function scalarText(value: JsonValue): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Cuts a template at its braces; those inside quotes are text. */
function pieces(template: string): readonly { readonly text: string; readonly inBraces: boolean }[] {
  const found: { text: string; inBraces: boolean }[] = [];
  // An expression is: characters that are neither quote nor brace, or whole quoted texts.
  const expression = /\{((?:[^{}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)\}/y;
  let at = 0;
  while (at < template.length) {
    const next = template.indexOf("{", at);
    if (next !== at) found.push({ text: template.slice(at, next === -1 ? undefined : next), inBraces: false });
    if (next === -1) break;
    expression.lastIndex = next;
    const match = expression.exec(template);
    if (match === null) throw wrong(template, `the brace at ${next} is not closed`);
    found.push({ text: (match[1] ?? "").trim(), inBraces: true });
    at = expression.lastIndex;
  }
  return found;
}

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

function unquoted(text: string, template: string): string {
  const [quote = ""] = text;
  if (text.length < 2 || !text.endsWith(quote)) throw wrong(template, `${text} is neither text nor a path`);
  return text.slice(1, -1).replaceAll(/\\(.)/gs, (_, character: string) => escapes[character] ?? character);
}

function wrong(template: string, reason: string): UserError {
  return new UserError("usage", `"${template}" is no JSONPath template: ${reason}`, {
    hints: ["for example -o jsonpath='{range .snapshots[*]}{.name}{\"\\n\"}{end}'"],
  });
}
