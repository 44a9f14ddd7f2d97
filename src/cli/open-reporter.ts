/** From flags and environment to a reporter. */
import { UserError } from "../base/errors.ts";
import type { Io } from "./io.ts";
import type { CliReporter } from "./reporter.ts";

export interface ReporterFlags {
  readonly quiet?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  readonly color?: "auto" | "always" | "never" | undefined;
  readonly "log-format"?: LogFormat | undefined;
}

export type LogFormat = "text" | "json";

/** @throws UserError `usage`. */
export async function openReporter(io: Io, flags: ReporterFlags): Promise<CliReporter> {
  if (flags.quiet === true && flags.verbose === true)
    throw new UserError("usage", "--quiet and --verbose exclude each other");
  const options = { quiet: flags.quiet === true, verbose: flags.verbose === true };
  if (flags["log-format"] === "json") {
    const { jsonReporter } = await import("./json-lines.ts");
    return jsonReporter(io, options);
  }
  const { terminalReporter } = await import("./terminal.ts");
  return terminalReporter(io, { ...options, color: wantsColor(flags.color ?? "auto", io) });
}

/** Whether stderr is to be coloured. The flag beats FORCE_COLOR, which beats NO_COLOR (as in Node), which beats the terminal. */
export function wantsColor(choice: "auto" | "always" | "never", io: Pick<Io, "env" | "isAnimated">): boolean {
  if (choice !== "auto") return choice === "always";
  const forced = io.env["FORCE_COLOR"];
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  return io.isAnimated && !io.env["NO_COLOR"];
}

/** The log format that is asked for before it is known whether the command line is right in other respects. */
export function logFormatOf(argv: readonly string[], env: Io["env"]): LogFormat {
  const at = argv.findLastIndex((each) => /^--log-format(=|$)/.test(each));
  const [, inFlag = argv[at + 1]] = argv[at]?.split("=") ?? ["", env["KAA_BACKUP_LOG_FORMAT"]];
  return inFlag === "json" ? "json" : "text";
}
