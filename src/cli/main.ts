/** The composition root: argv in, exit code out. The one place where errors become text and codes; nothing below prints or
 *  exits. Commands load what they need when they run, so that help and usage errors stay quick and touch no network. */
import { outcomes, UserError } from "../base/errors.ts";
import { oldCommands } from "../drivers/old-names.ts";
import { commands } from "./commands.ts";
import { type Config, noConfig, readConfig } from "./config.ts";
import { endOf } from "./ending.ts";
import { errorText } from "./error-text.ts";
import type { Io } from "./io.ts";
import { exitErrorLine } from "./json-lines.ts";
import { logFormatOf, openReporter, type ReporterFlags } from "./open-reporter.ts";
import { type AddCommands, type CompleteFlags, parse } from "./parser.ts";
import type { CliReporter } from "./reporter.ts";
import { addSettings, settingsIn } from "./settings.ts";
import { helpOf } from "./usage-error.ts";
import { tool } from "./version.ts";

/** What a command gets. */
export interface Session {
  readonly io: Io;
  readonly tool: typeof tool;
  /** The executable's own name. */
  readonly programFile: string;
  readonly reporter: CliReporter;
  /** What the configuration file says; nothing before a command runs. */
  config(): Config;
  /** What a second signal, which ends the program without cleaning up, leaves of this command. */
  leaves(what: string): void;
  /** Runs a command's work and keeps its exit code or error. */
  run(flags: ReporterFlags, work: () => Promise<number>): Promise<void>;
}

/** @param name how the program was called, for help texts: "kubectl kaa-backup". */
export async function run(argv: readonly string[], outside: Io, name = "kubectl kaa-backup"): Promise<number> {
  const io = { ...outside, env: { ...outside.env } };
  if (argv[0] === "__complete") {
    const { completionText } = await import("./complete.ts");
    io.stdout.write(await completionText(argv.slice(1), io));
    return outcomes.ok.code;
  }
  let exitCode: number | undefined;
  let failure: unknown;
  let reporter: CliReporter | undefined;
  let logFormat = logFormatOf(argv, io.env);
  io.signal.addEventListener("abort", () => reporter?.say("stopping"));
  let left = "the next run removes what is left";
  const { leaving } = io;
  leaving?.addEventListener("abort", () => {
    const said = `left without cleaning up: ${left}`;
    const { outcome } = leaving.reason as UserError; // as of `signal`
    io.stderr.write(logFormat === "json" ? exitErrorLine(new UserError(outcome, said)) : `${said}\n`);
  });
  let config = noConfig;
  const session: Session = {
    io,
    tool,
    programFile: name === "backup" ? name : "kubectl-kaa_backup", // the image has it under both names
    config: () => config,
    get reporter() {
      if (reporter === undefined) throw new Error("no command runs");
      return reporter;
    },
    leaves(what) {
      left = what;
    },
    async run(flags, work) {
      logFormat = flags["log-format"] ?? logFormat;
      try {
        reporter = await openReporter(io, flags);
        exitCode = await work();
      } catch (error) {
        failure = error;
      } finally {
        reporter?.stop();
      }
    },
  };
  /** What flags do not say, environment and configuration may; both beat a flag's default. */
  const completeFlags: CompleteFlags = async (flags, parser) => {
    const { key: known } = parser.getOptions();
    config = await readConfig(flags["config"] as string | undefined, io); // declared as a text
    const { dir } = config.settings;
    if (typeof dir === "string") io.env["KAA_BACKUP_DIR"] ||= dir;
    const isImplied = oldCommands.get(String(flags["command"]))?.local === true ? { local: true } : {};
    const given: Record<string, unknown> = { ...flags, ...isImplied };
    for (const name of Object.keys(parser.parsed.defaulted)) delete given[name];
    const has = (flag: string) => Object.hasOwn(known, flag);
    // "all" is said of storages; verify --all is another.
    const accepts = (each: string) => each !== "dir" && has(each) && (each !== "all" || has("storage"));
    addSettings(given, [settingsIn(io), config.settings], accepts);
    Object.assign(flags, given);
  };
  const addCommands: AddCommands = (parser) => {
    for (const command of commands) command.addTo(parser, session);
  };
  const output = await parse(argv, { addCommands, name, completeFlags }).catch((error: unknown) => {
    failure = error;
    return "";
  });
  if (output !== "") io.stdout.write(`${output}\n`);
  if (failure === undefined) return exitCode ?? outcomes.ok.code;
  const error = endOf(failure, io.signal);
  if (logFormat === "json") io.stderr.write(exitErrorLine(error));
  else io.stderr.write(errorText(error, name, helpOf(argv, name)));
  return error instanceof UserError ? error.exitCode : outcomes.internal.code;
}
