/** `version`: of this program, and of the API server. */
import { outcomes } from "../base/errors.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { clusterFlags, outputFlags } from "./flags.ts";
import type { Session } from "./main.ts";
import { clusterOf } from "./options.ts";
import { factsText, printerFor, type Shown } from "./output.ts";
import { type Build, build, tool } from "./version.ts";

const spec = {
  command: "version",
  describe: "Show the versions of this program and of the Kubernetes API server",
  details: `As kubectl version does. When the API server cannot be reached, the program's own version is printed all the same, and the exit code is
that of the failure.`,
  groups: {
    Options: { client: { type: "boolean", describe: "Only this program's version; contacts nobody" } },
    Cluster: clusterFlags,
    Output: outputFlags,
  },
  examples: [
    ["version", "of both sides"],
    ["version --client -o json", "of this program, for scripts"],
  ],
  outcomes: ["cluster", "forbidden", "credentials", "deadline"],
} as const satisfies CommandSpec;

export const versionCommand = defineCommand(spec, version);

async function version(session: Session, parsed: ParsedOf<typeof spec>): Promise<number> {
  const { io, reporter } = session;
  const print = await printerFor(io, parsed.output);
  if (parsed.client === true) {
    print(shownVersions(build));
    return outcomes.ok.code;
  }
  let server: string;
  try {
    server = await (await clusterOf(parsed, io, reporter)).version(io.signal);
  } catch (error) {
    print(shownVersions(build));
    throw error;
  }
  print(shownVersions(build, server));
  return outcomes.ok.code;
}

/** @param built undefined when the sources run as they are.
 *  @param server undefined when it was not asked, or did not answer. */
export function shownVersions(built: Build | undefined, server?: string): Shown {
  const { commit = "unknown", date } = built ?? {};
  return {
    document: {
      client: { version: tool.version, commit, ...(date !== undefined && { date }) },
      ...(server !== undefined && { server: { version: server } }),
    },
    names: [tool.version],
    table: () =>
      factsText([
        ["Client Version", tool.version],
        ["Commit", built === undefined ? "unknown (run from its sources)" : commit],
        ["Commit Date", date ?? ""],
        ["Server Version", server ?? ""],
      ]),
  };
}
