/** `completion`: prints what a shell needs to complete our words. */
import { outcomes } from "../base/errors.ts";
import { type CommandSpec, defineCommand, type ParsedOf } from "./command.ts";
import { completionScripts } from "./completion-scripts.ts";
import type { Session } from "./main.ts";

const spec = {
  command: "completion <shell>",
  describe: "Print the script by which a shell completes commands, flags, namespaces and dates",
  details: `bash, zsh, fish and powershell complete the program under its own name. kubectl prints the helper by which kubectl's own completion, in any
shell, completes "kubectl kaa-backup": as kubectl_complete-kaa_backup in a folder of PATH. docs/completion.md says where each goes.`,
  positionals: {
    shell: {
      choices: ["bash", "zsh", "fish", "powershell", "kubectl"] as const,
      demandOption: true,
      describe: "For whom",
    },
  },
  groups: {},
  examples: [
    ["completion kubectl > ~/.local/bin/kubectl_complete-kaa_backup", "then chmod +x it"],
    ["completion bash > ~/.local/share/bash-completion/completions/kubectl-kaa_backup", "for bash"],
  ],
  outcomes: [],
} as const satisfies CommandSpec;

export const completionCommand = defineCommand(spec, completion);

async function completion({ io, programFile }: Session, { shell }: ParsedOf<typeof spec>): Promise<number> {
  io.stdout.write(completionScripts[shell](programFile));
  return outcomes.ok.code;
}
