/** Errors as people read them: what / effect on data / cause / what to try. */
import { messageOf, type Outcome, UserError } from "../base/errors.ts";
import { generalHints } from "./hints.ts";
import { printable } from "./text.ts";
import { homepage } from "./version.ts";

/** @param name how the program was called.
 *  @param help what shows the help of the command that ran. */
export function errorText(error: unknown, name: string, help: string): string {
  const outcome: Outcome = error instanceof UserError ? error.outcome : "internal";
  const lines = [`error ${outcome}: ${clipped(messageOf(error))}`];
  if (error instanceof UserError) {
    if (error.effect !== undefined) lines.push(`  effect: ${error.effect}`);
    const cause = error.cause === undefined ? "" : messageOf(error.cause).trim().slice(-2000);
    if (cause !== "" && !error.message.includes(cause))
      lines.push(`  cause:  ${cause.replaceAll("\n", "\n          ")}`);
    const general = outcome === "usage" ? help : generalHints[outcome];
    const hints = error.hints.length > 0 || general === undefined ? error.hints : [general];
    for (const hint of hints) lines.push(`  try:    ${hint}`);
  } else {
    lines.push(`  this is a defect of ${name}; please report it with what follows: ${homepage}/issues`);
    if (error instanceof Error && error.stack !== undefined) lines.push(error.stack);
  }
  return `${printable(lines.join("\n"))}\n`;
}

/** Longer than any message of ours: what was given to us, megabytes of it, may be in one. */
const longestMessage = 4000;

function clipped(text: string): string {
  return text.length > longestMessage ? `${text.slice(0, longestMessage)}…` : text;
}
