/** The parts of MariaDB's driver that need no server: what it proves of a dump, believes of a manifest, tells of a failure,
 *  and does when it is cut off. */
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import { readFacts } from "../../src/drivers/mariadb/facts.ts";
import { planRestore } from "../../src/drivers/mariadb/plan.ts";
import { inPod } from "../../src/drivers/mariadb/pod.ts";
import { DumpReader, readAlong } from "../../src/drivers/mariadb/reader.ts";
import * as scripts from "../../src/drivers/mariadb/scripts.ts";
import { compareVersions, type Server } from "../../src/drivers/mariadb/server.ts";
import mariadb from "../../src/drivers/mariadb.ts";
import { backupOf, contextOf, instanceOf, scriptCluster } from "../fakes/script-cluster.ts";

const end = "\n-- Dump completed on 2026-11-24  1:00:00\n";

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function readWhole(bytes: Uint8Array, encoding: "identity" | "gzip", size: number) {
  const reader = new DumpReader();
  const passed: Uint8Array[] = [];
  for await (const chunk of readAlong(pieces(bytes, size), encoding, reader)) passed.push(chunk);
  return { rows: reader.rows, passed: Buffer.concat(passed) };
}

describe.each(["identity", "gzip"] as const)("a dump that comes as %s", (encoding) => {
  const encoded = (text: string) => (encoding === "gzip" ? gzipSync(text) : Buffer.from(text));

  test.each([1, 7, 65_536])("passes unchanged when its last line is there, in pieces of %i bytes", async (size) => {
    const bytes = encoded(`INSERT INTO \`t\` VALUES\n(1),\n(2);\n${end}`);
    expect(await readWhole(bytes, encoding, size)).toEqual({ rows: 2, passed: bytes });
  });

  test.each([
    ["nothing at all", ""],
    ["no last line", "INSERT INTO `t` VALUES (1);\n"],
    ["a last line without its line end", "x\n-- Dump completed on 2026-11-24"],
    ["the last line's words in the data", `INSERT INTO \`t\` VALUES ('${end}');\n`],
  ])("is refused with %s", async (_, text) => {
    await expect(readWhole(encoded(text), encoding, 5)).rejects.toMatchObject({ outcome: "storage-failed" });
  });
});

test("a compressed dump is refused when any of its last bytes is missing", async () => {
  const bytes = gzipSync(`INSERT INTO \`t\` VALUES (1);\n${end}`);
  for (let cut = 1; cut < 20; cut++) {
    const refusal = { outcome: "storage-failed", message: "what the pod compressed does not decompress" };
    await expect(readWhole(bytes.subarray(0, -cut), "gzip", 16)).rejects.toMatchObject(refusal);
  }
});

test("rows are counted whatever the data and the names look like", async () => {
  const text = [
    "INSERT INTO `VALUES (x` (`a``V(`, `b`) VALUES",
    "(1,'it\\'s (not), a row;\\\\'),",
    "(2,'\nINSERT INTO `t` VALUES (9);\n');",
    "INSERT INTO `one line` VALUES (1,NULL),(2,0x28),(3,'');",
    "DELIMITER ;;",
    "INSERT INTO `t` VALUES (1) ;;",
    "DELIMITER ;",
    "-- INSERT INTO `t` VALUES (1);",
  ].join("\n");
  for (const size of [1, 3, 4096]) expect((await readWhole(Buffer.from(text + end), "identity", size)).rows).toBe(5);
});

const account = { user: "kaa", host: "%" };
const facts = {
  databases: ["app"],
  accounts: [account],
  kept: ["root"],
  lostDefiners: [{ user: "o'neill` --", host: "%" }],
  engines: ["InnoDB"],
  plugins: [],
  history: false,
  lowerCaseNames: 0,
};

test.each([
  ["no object", []],
  ["a name that is a number", { ...facts, databases: [1] }],
  ["an account without host", { ...facts, lostDefiners: [{ user: "x" }] }],
  ["a list that is a text", { ...facts, engines: "InnoDB" }],
  ["a switch that is a text", { ...facts, history: "yes" }],
])("a manifest with %s is refused", (_, record) => {
  expect(() => readFacts(record)).toThrow(expect.objectContaining({ outcome: "invalid-snapshot" }));
});

const server = {
  version: "10.11.6-MariaDB",
  tool: "mariadb-dump from 10.11.6-MariaDB, client 10.19",
  appUser: "kaa",
  kept: ["root"],
  missingRights: [],
  isReadOnly: false,
  isReplica: false,
  galeraNodes: 0,
  eventScheduler: "ON",
  lowerCaseNames: 0,
  databases: ["old"],
  accounts: [account, { user: "gone", host: "%" }],
  availableEngines: ["InnoDB"],
  availablePlugins: [],
};

describe("a restore is refused", () => {
  const obstacles = (target: object, more: object = {}) => {
    const backup = backupOf({ ...facts, ...more }, {});
    return planRestore({ ...server, ...target } as unknown as Server, backup).obstacles;
  };
  test("never when the target is as the source was", () => expect(obstacles({})).toEqual([]));
  test.each([
    ["an older target", { version: "10.6.1-MariaDB" }, {}, /newer than the target's/],
    ["a read-only target", { isReadOnly: true }, {}, /read-only/],
    ["a Galera cluster", { galeraNodes: 3 }, {}, /scale it to 1/],
    ["a missing engine", {}, { engines: ["ROCKSDB"] }, /engines: ROCKSDB/],
    ["a missing plugin", {}, { plugins: ["ed25519"] }, /plugins: ed25519/],
    ["other rules for names", { lowerCaseNames: 1 }, {}, /lower_case_table_names/],
    ["history of another epoch", { version: "11.5.2-MariaDB" }, { history: true }, /before 11.5/],
  ])("by %s", (_, target, more, words) => {
    expect(obstacles(target, more)).toEqual([expect.stringMatching(words)]);
  });
});

test("versions are compared by number", () => {
  expect(compareVersions("10.4.1-MariaDB", "10.11.6-MariaDB")).toBeLessThan(0);
  expect(compareVersions("10.11.6-MariaDB-log", "10.11")).toBe(0);
});

describe("a command that fails in the pod", () => {
  const failing = (words: string) =>
    inPod(() => Promise.reject(new UserError("storage-failed", "exit code 1", { cause: new Error(words) })));

  test("does not tell the statement, which is data", async () => {
    const words =
      "--------------\nINSERT INTO t VALUES ('secret')\n--------------\nERROR 4025 (23000) at line 1: CONSTRAINT";
    const error = await failing(words).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ outcome: "storage-failed", cause: { message: words.split("\n").at(-1) } });
  });

  test.each([
    ["ERROR 1045 (28000): Access denied for user 'root'@'localhost'", "credentials"],
    ["ERROR 2002 (HY000): Can't connect to local server through socket", "storage-not-ready"],
    ["mariadb-dump: Error 1412: Table definition has changed, please retry", "storage-failed"],
  ])("has its outcome by the words %s", async (words, outcome) => {
    await expect(failing(words)).rejects.toMatchObject({ outcome });
  });
});

test("a dump is refused for an event that would keep mariadb-dump busy for ever", async () => {
  const answer = JSON.stringify({ ...server, strayDatabases: [], endlessEvents: ["app.e"] });
  const cluster = scriptCluster(({ script }) => {
    if (script === scripts.inspectScript) return answer;
    throw new Error("something was dumped");
  });
  const output = { stream: () => Promise.reject(new Error("something was sent")) };
  const work = mariadb.dump(instanceOf("mariadb"), output, contextOf(cluster, new AbortController().signal));
  const message = expect.stringContaining('cannot dump event "app.e"');
  await expect(work).rejects.toMatchObject({ outcome: "storage-failed", message });
});

describe("a restore", () => {
  /** Runs one, in which `during` happens while the databases are loaded. */
  async function restored(during: (cut: AbortController) => string) {
    const cut = new AbortController();
    const ran: { script: string; args: readonly string[]; cut: boolean }[] = [];
    const cluster = scriptCluster(({ script, args = [], signal }) => {
      ran.push({ script, args, cut: signal === cut.signal });
      if (script === scripts.inspectScript) return JSON.stringify(server);
      if (script === scripts.restoreScript) return during(cut);
      return script === scripts.openScript ? '["app"]' : "";
    });
    const backup = backupOf(facts, { "accounts.sql": "a", "databases.sql": "b" });
    const work = mariadb.restore(instanceOf("mariadb"), backup, contextOf(cluster, cut.signal));
    const outcome = await work.catch((error: unknown) => error);
    return { outcome, ran };
  }

  test("that is cut off lets the services in again, though its own signal has fired", async () => {
    const { ran } = await restored((cut) => {
      cut.abort(new Error("Ctrl-C"));
      return "";
    });
    expect(ran.at(-1)).toEqual({ script: scripts.openScript, args: ["ON"], cut: false });
  });

  test("that fails lets the services in again and says what is there", async () => {
    const { ran, outcome } = await restored(() => {
      throw new UserError("storage-failed", "exit code 1");
    });
    expect(ran.at(-1)?.script).toBe(scripts.openScript);
    expect(outcome).toMatchObject({ outcome: "storage-failed", effect: expect.stringContaining("databases app now") });
  });

  test("hands names of lost definers over as digits only", async () => {
    const report = JSON.stringify({ counts: { databases: 1 }, accounts: [account] });
    const { ran, outcome } = await restored(() => report);
    const rows = ran.find((each) => each.script === scripts.restoreAccountsScript)?.args[0] ?? "";
    expect(rows).toContain(`x'${Buffer.from("o'neill` --").toString("hex")}'`);
    expect(rows).not.toContain("neill");
    expect(outcome).toEqual({ counts: { databases: 1, accounts: 1 }, warnings: [] });
    expect(ran.map((each) => each.script)).not.toContain(scripts.openScript);
  });
});
