/** What a run tells of itself: what it expects, and what it decided. */
import { setTimeout } from "node:timers/promises";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { World } from "./world.ts";

const date = "12-02-2021-15-28-37";
let world: World;

beforeEach(async () => {
  world = new World();
  await world.start();
  onTestFinished(() => world[Symbol.asyncDispose]());
});

const create = ["create", "--storage", "mariadb", "--local"];

test("--verbose tells pods, containers, credentials' sources, encodings and requests; no value and no query", async () => {
  world.environment["MARIADB_ROOT_PWD"] = "a-password-that-must-not-leak";
  const ran = await world.run([...create, "--dir", world.directory, "-v"], { name: "kubectl kaa-backup", stdin: "" });
  expect(ran.code, ran.stderr).toBe(0);
  const lines = ran.stderr.split("\n");
  expect(lines).toContain(`namespace "kaa" of context "fake", ${world.cluster.url}`);
  expect(lines).toContain("mariadb/kaa-mariadb: the credentials are those given as MARIADB_ROOT_PWD");
  expect(lines).toContain('mariadb/kaa-mariadb: stream "databases.sql", encoding gzip');
  expect(lines).toContain("GET /api/v1/namespaces/kaa/pods");
  expect(lines).toContain('GET /api/v1/namespaces/kaa/pods/kaa-mariadb-0/exec in container "main"');
  expect(lines).toContain("POST /apis/coordination.k8s.io/v1/namespaces/kaa/leases");
  expect(ran.stderr).not.toMatch(/must-not-leak|\?|command=/);
  delete world.environment["MARIADB_ROOT_PWD"];
  const own = await world.run([...create, "--dir", world.directory, "-v", "--dry-run"], { name: "", stdin: "" });
  expect(own.stderr).toContain("mariadb/kaa-mariadb: the credentials are the pod's own");
});

test("expected bytes are those of the last snapshot; without one, the server's own estimate", async () => {
  const started = async () => {
    const flags = [...create, "--dir", world.directory, "--log-format", "json"];
    const { stderr } = await world.run(flags, { name: "", stdin: "" });
    return stderr
      .trim()
      .split("\n")
      .map((each) => JSON.parse(each))
      .find((each) => each.message_type === "started");
  };
  expect(await started()).toMatchObject({ task: "mariadb/kaa-mariadb", expected_bytes: 5 });
  await world.plant(date, world.directory, "whole");
  await setTimeout(1000); // a name is of one second
  // The newest counts, which the first run has made: what is planted is older.
  const second = await started();
  expect(second.expected_bytes).toBeGreaterThan(100);
});

test("a last snapshot that cannot be read does not keep the next from being made", async () => {
  await world.plant("12-02-2099-15-28-37", world.directory, "cut");
  const ran = await world.run([...create, "--dir", world.directory, "-v"], { name: "", stdin: "" });
  expect(ran.code, ran.stderr).toBe(0);
  expect(ran.stderr).toContain("the last snapshot does not tell how large dumps are");
});
