/** What PostgreSQL's driver does when a restore is cut off, and what its sessions must not take from the server. */
import { expect, test } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import * as scripts from "../../src/drivers/postgresql/scripts.ts";
import postgresql from "../../src/drivers/postgresql.ts";
import { backupOf, contextOf, instanceOf, scriptCluster } from "../fakes/script-cluster.ts";

const server = {
  version: "15.4",
  versionNumber: 150_004,
  tool: "pg_dump (PostgreSQL) 15.4",
  appUser: "",
  user: "postgres",
  superuser: true,
  inRecovery: false,
  databases: [{ name: "later", bytes: 1, connectable: true }],
  roles: [],
  tablespaces: [],
  extensions: [],
  prepared: 0,
};
const backup = backupOf({ databases: [], roles: [], tablespaces: [], versionNumber: 150_004 }, { "roles.json": "[]" });

/** Restores; `during` happens at the first command after the roles were barred. */
async function restored(during: (cut: AbortController) => string, openWorks = true) {
  const cut = new AbortController();
  const ran: { step: string | undefined; cut: boolean }[] = [];
  const cluster = scriptCluster(({ script, args = [], signal }) => {
    if (script === scripts.inspectScript) return JSON.stringify(server);
    const step = script === scripts.applyRolesScript ? args[0] : "other";
    ran.push({ step, cut: signal === cut.signal });
    if (step === "open" && !openWorks) throw new UserError("stream-lost", "connection lost");
    return step === "other" ? during(cut) : "";
  });
  const work = postgresql.restore(instanceOf("postgresql"), backup, contextOf(cluster, cut.signal));
  return { error: await work.catch((error: unknown) => error), ran };
}

test("roles are let in again after Ctrl-C, though the run's own signal has fired", async () => {
  const { ran } = await restored((cut) => {
    cut.abort(new Error("Ctrl-C"));
    return "";
  });
  expect(ran[0]).toEqual({ step: "bar", cut: true });
  expect(ran.at(-1)).toEqual({ step: "open", cut: false });
});

test("roles are let in again after a failure, which is what is told", async () => {
  const { ran, error } = await restored(() => {
    throw new UserError("storage-failed", "exit code 1");
  });
  expect(ran.at(-1)).toEqual({ step: "open", cut: false });
  expect(error).toMatchObject({ outcome: "storage-failed", effect: "restored: none; not restored: none" });
});

test("when they cannot be let in, that is told beside the failure", async () => {
  const { error } = await restored(() => {
    throw new UserError("storage-failed", "exit code 1");
  }, false);
  const effect = expect.stringContaining("roles may not log in until the restore is repeated (connection lost)");
  expect(error).toMatchObject({ outcome: "storage-failed", effect });
});

test.each([
  [
    120_011,
    [
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'it''s'",
      'DROP DATABASE IF EXISTS "it\'s"',
    ],
  ],
  [150_004, ['DROP DATABASE IF EXISTS "it\'s" WITH (FORCE)']],
])("server %i: a template is unmarked and dropped, each statement by itself", async (versionNumber, dropping) => {
  const ran: (readonly string[])[] = [];
  const cluster = scriptCluster(({ script, args = [] }) => {
    if (script === scripts.dropScript) ran.push(args);
    const databases = [{ name: "it's", bytes: 1, connectable: true, template: true }];
    return script === scripts.inspectScript ? JSON.stringify({ ...server, versionNumber, databases }) : "";
  });
  await postgresql.restore(instanceOf("postgresql"), backup, contextOf(cluster, new AbortController().signal));
  expect(ran).toEqual([["dbname='postgres'", 'ALTER DATABASE "it\'s" WITH IS_TEMPLATE false', ...dropping]]);
});

test.each([
  [["plpgsql", "timescaledb"], ['extension "timescaledb" is not installed on the target\'s server']],
  [["plpgsql"], []],
  [undefined, []], // older snapshots do not tell
])("a snapshot with the extensions %j is compared with those of the target's server", async (extensions, obstacles) => {
  const facts = {
    databases: [],
    roles: [],
    tablespaces: [],
    versionNumber: 150_004,
    ...(extensions && { extensions }),
  };
  const cluster = scriptCluster(() => JSON.stringify({ ...server, extensions: ["plpgsql", "hstore"] }));
  const context = contextOf(cluster, new AbortController().signal);
  const plan = await postgresql.plan(instanceOf("postgresql"), backupOf(facts, { "roles.json": "[]" }), context);
  expect(plan.obstacles).toEqual(obstacles);
});

test("no lock is waited for without end: pg_dump is told the limit, too, for it takes that of its session back", () => {
  expect(scripts.dumpScript).toMatch(/PGOPTIONS='.*-c lock_timeout=300000'/);
  expect(scripts.dumpScript).toMatch(/^ *pg_dump .*--lock-wait-timeout=300000 /m);
});

test.each(Object.entries(scripts))("%s runs in no session that the owner of a database has set up", (_, script) => {
  const setting = /^PGOPTIONS="\$PGOPTIONS -c default_transaction_read_only=off -c search_path=pg_catalog /m;
  expect(script).toMatch(setting);
  expect(script).toMatch(/^export .*\bPGOPTIONS\b/m);
});
