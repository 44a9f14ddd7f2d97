/** What a command prints on stdout, in the format that -o names. Every command has every format; docs/output.md describes
 *  the documents and what is promised of them. */
import { UserError } from "../base/errors.ts";
import type { JsonValue } from "../base/json.ts";
import type { Io } from "./io.ts";
import { nearest } from "./nearest.ts";
import { escaped, invisible, printable, tableText } from "./text.ts";

/** Of all documents together: raised when a field is taken away or means something else. */
const schema = 1;

export const outputFormats = ["table", "wide", "json", "yaml", "name", "jsonpath=TEMPLATE"] as const;

/** The same result in all its forms. */
export interface Shown {
  /** For programs, as JSON will have it: a Date becomes text. Fields are only ever added. */
  readonly document: object;
  /** For scripts, one a line: names of snapshots, or of storages. */
  readonly names: readonly string[];
  /** For people. */
  readonly table: () => string;
  /** For people with broad terminals; without it, the table. */
  readonly wide?: () => string;
}

export type Print = (shown: Shown) => void;

/** Made before a command does anything: a wrong format must not be found out when the work is done.
 *  @throws UserError `usage`. */
export async function printerFor(io: Pick<Io, "stdout">, format: string): Promise<Print> {
  const textOf = await formatterOf(format);
  return (shown) => void io.stdout.write(textOf(shown));
}

async function formatterOf(format: string): Promise<(shown: Shown) => string> {
  switch (format) {
    case "table":
      return ({ table }) => printable(table());
    case "wide":
      return ({ table, wide }) => printable((wide ?? table)());
    case "json":
      return ({ document }) => escaped(`${JSON.stringify(plain(document), null, 2)}\n`);
    case "yaml":
      return await yamlFormatter();
    case "name":
      return ({ names }) => printable(names.map((name) => `${name}\n`).join(""));
  }
  const template = /^jsonpath=(.*)$/s.exec(format)?.[1];
  if (template === undefined) {
    const meant = nearest(format, outputFormats);
    throw new UserError("usage", `there is no output format "${format}"`, {
      hints: [meant === undefined ? `formats: ${outputFormats.join(", ")}` : `did you mean -o ${meant}?`],
    });
  }
  const { compileTemplate } = await import("./jsonpath.ts");
  const evaluate = await compileTemplate(template);
  return ({ document }) => printable(evaluate(plain(document)));
}

function plain(document: object): JsonValue {
  return JSON.parse(JSON.stringify({ schema, ...document })) as JsonValue; // what JSON gives
}

async function yamlFormatter(): Promise<(shown: Shown) => string> {
  const { Document, visit } = await import("yaml");
  return (shown) => {
    const document = new Document(plain(shown.document), {
      aliasDuplicateObjects: false,
      compat: "yaml-1.1", // quotes what older readers take for dates and booleans
    });
    // Only in double quotes can a character be escaped.
    visit(document, {
      Scalar(_, scalar) {
        if (typeof scalar.value === "string" && invisible.test(scalar.value)) scalar.type = "QUOTE_DOUBLE";
      },
    });
    return escaped(document.toString({ lineWidth: 0 }));
  };
}

/** A table of facts: the names in one column, what they are in the next. Facts without text are left out. */
export function factsText(facts: readonly (readonly [name: string, text: string])[]): string {
  return tableText(facts.filter(([, text]) => text !== "").map(([name, text]) => [`${name}:`, text]));
}
