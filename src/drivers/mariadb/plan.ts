/** What a restore would do to a server, and what stands in its way. */
import type { Backup, RestorePlan } from "../driver.ts";
import { readFacts } from "./facts.ts";
import { type Account, compareVersions, type Server, seriesOf } from "./server.ts";

export function planRestore(server: Server, backup: Backup): RestorePlan {
  const facts = readFacts(backup.facts);
  const isSame = (a: Account) => (b: Account) => a.user === b.user && a.host === b.host;
  const isKept = ({ user }: Account) => server.kept.includes(user);
  const isApp = ({ user }: Account) => server.appUser !== "" && user === server.appUser;
  const gone = server.accounts.filter((each) => !facts.accounts.some(isSame(each)) && !isKept(each) && !isApp(each));
  const made = facts.accounts.filter((each) => !server.accounts.some(isSame(each)) && !isKept(each));
  const account = ({ user, host }: Account) => (host === "" ? `role ${user}` : `account ${user}@${host}`);
  return {
    drops: [...server.databases.map((each) => `database ${each}`), ...gone.map(account)],
    creates: [...facts.databases.map((each) => `database ${each}`), ...made.map(account)],
    keeps: [
      ...server.kept.map((each) => `the accounts of "${each}"`),
      ...(server.appUser === "" ? [] : [`the password of "${server.appUser}"`]),
    ],
    warnings:
      backup.serverVersion === server.version
        ? []
        : [`snapshot of ${backup.serverVersion}, target is ${server.version}`],
    obstacles: obstaclesTo(server, backup),
  };
}

function obstaclesTo(server: Server, backup: Backup): readonly string[] {
  const { engines, plugins, history, lowerCaseNames } = readFacts(backup.facts);
  const { serverVersion: from } = backup;
  const { version: to } = server;
  const obstacles: string[] = [];
  const lacking = (wanted: readonly string[], available: readonly string[]) => {
    const known = available.map((each) => each.toLowerCase());
    return wanted.filter((each) => !known.includes(each.toLowerCase())).join(", ");
  };
  const lackingEngines = lacking(engines, server.availableEngines);
  const lackingPlugins = lacking(plugins, server.availablePlugins);
  if (compareVersions(seriesOf(from), seriesOf(to)) > 0) {
    obstacles.push(`the snapshot is of version ${from}, newer than the target's ${to}`);
  }
  if (server.isReplica || server.isReadOnly) obstacles.push("the target is a replica or read-only");
  if (server.galeraNodes > 1) {
    obstacles.push(
      `the target is a Galera cluster of ${server.galeraNodes} nodes, whose accounts are each node's own: scale it to 1`,
    );
  }
  if (lackingEngines !== "") obstacles.push(`the target lacks storage engines: ${lackingEngines}`);
  if (lackingPlugins !== "") obstacles.push(`the target lacks authentication plugins: ${lackingPlugins}`);
  if (lowerCaseNames !== server.lowerCaseNames) {
    obstacles.push(
      `lower_case_table_names is ${lowerCaseNames} in the snapshot, ${server.lowerCaseNames} on the target`,
    );
  }
  // From 11.5 on, "for ever" is 2106 instead of 2038: rows that are current here would be history there.
  if (history && compareVersions(from, "11.5") < 0 && compareVersions(to, "11.5") >= 0) {
    obstacles.push("history of system-versioned tables from before 11.5 cannot be restored to 11.5 or later");
  }
  return obstacles;
}
