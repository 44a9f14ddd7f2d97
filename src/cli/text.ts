/** Text for people: sizes, times, tables. Names come from clusters and buckets, so control characters are made visible. */
import stringWidth from "string-width";

export function sizeText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export function durationText(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "5m", "47h", "12d"; "in 3d" for a date that is yet to come. */
export function ageText(date: Date, now: Date): string {
  const agoMs = now.getTime() - date.getTime();
  const minutes = Math.floor(Math.abs(agoMs) / 60_000);
  const hours = Math.floor(minutes / 60);
  const text = hours < 1 ? `${minutes}m` : hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
  return agoMs < 0 && minutes > 0 ? `in ${text}` : text;
}

/** Between two columns of a table. */
export const columnGap = "   ";

/** Left-aligned columns, kubectl's way. */
export function tableText(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => stringWidth(row[column] ?? ""))));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => padColumns(cell, widths[column] ?? 0))
      .join(columnGap)
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

/** Spaces behind a text until it takes so many columns; East Asian characters take two. */
export function padColumns(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - stringWidth(text)));
}

/** No escape sequence of a hostile name reaches the terminal; nor do characters that turn the direction of text. */
export function printable(text: string): string {
  return text.replaceAll(/(?![\n\t])[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** The same for what must stay on one line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

export const invisible = /(?!\n)[\p{Cc}\p{Cf}]/u;

/** JSON and YAML with the escapes that both have, for the characters that `printable` makes visible: a name that comes
 *  from a bucket must not move the cursor or turn the direction of the text. */
export function escaped(text: string): string {
  const unit = (code: number) => `\\u${code.toString(16).padStart(4, "0")}`;
  return text.replaceAll(new RegExp(invisible, "gu"), (character) =>
    Array.from({ length: character.length }, (_, index) => unit(character.charCodeAt(index))).join(""),
  );
}
