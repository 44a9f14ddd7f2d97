/** All commands, in the order in which help shows them. */
import type { Command } from "./command.ts";
import { completionCommand } from "./completion.ts";
import { createCommand } from "./create.ts";
import { deleteCommand } from "./delete.ts";
import { describeCommand } from "./describe.ts";
import { doctorCommand } from "./doctor.ts";
import { downloadCommand } from "./download.ts";
import { listCommand } from "./list.ts";
import { oldCommand } from "./old.ts";
import { pruneCommand } from "./prune.ts";
import { restoreCommand } from "./restore.ts";
import { scheduleCommand } from "./schedule.ts";
import { storagesCommand } from "./storages.ts";
import { verifyCommand } from "./verify.ts";
import { versionCommand } from "./version-command.ts";

export const commands: readonly Command[] = [
  createCommand,
  listCommand,
  describeCommand,
  verifyCommand,
  downloadCommand,
  deleteCommand,
  pruneCommand,
  restoreCommand,
  storagesCommand,
  doctorCommand,
  scheduleCommand,
  completionCommand,
  versionCommand,
  oldCommand,
];
