/** Which pods are the servers of a storage, and which of them a snapshot's instance goes to. */
import { describe, expect, test } from "vitest";
import type { Pod } from "../../src/cluster/cluster.ts";
import type { Driver } from "../../src/drivers/driver.ts";
import { findInstances, matchInstance } from "../../src/drivers/find.ts";
import { driverNames, loadDriver } from "../../src/drivers/registry.ts";
import { podNamed } from "../fakes/script-cluster.ts";

const driver = { storage: "db", selectors: [{ "app.kubernetes.io/name": "db" }, { app: "db" }] } as unknown as Driver;

function pod(name: string, labels: Record<string, string>, more: Partial<Pod> = {}): Pod {
  return { ...podNamed(name, labels), owner: name.replace(/-\d+$/, ""), ...more };
}
const today = (release: string) => ({ "app.kubernetes.io/name": "db", "app.kubernetes.io/instance": release });
const namesOf = (pods: readonly Pod[], prefix = "") => findInstances(driver, pods, prefix).map((each) => each.name);

describe("findInstances()", () => {
  test("pods of one owner are one instance, and several owners are several, in the order of their names", () => {
    const pods = [pod("b-db-0", today("b")), pod("a-db-0", today("a")), pod("a-db-1", today("a"))];
    const found = findInstances(driver, pods, "");
    expect(found.map(({ name, pods: members }) => [name, members.length])).toEqual([
      ["a-db", 2],
      ["b-db", 1],
    ]);
  });

  test("labels of both eras of the charts are understood, and the newer ones decide when both are there", () => {
    expect(namesOf([pod("kaa-db-0", { app: "db", release: "kaa" })])).toEqual(["kaa-db"]);
    expect(namesOf([pod("kaa-db-0", today("kaa")), pod("old-0", { app: "db" })])).toEqual(["kaa-db"]);
  });

  test("servers of different charts stand side by side, and no pod is there twice", () => {
    const charts = [...driver.selectors, { "app.kubernetes.io/name": "db2" }, { app: "*db2" }];
    const two = { ...driver, selectors: charts } as Driver;
    const both = { "app.kubernetes.io/name": "db", app: "my-db2" };
    const pods = [
      pod("kaa-db-0", today("kaa")),
      pod("kaa-db2-0", { "app.kubernetes.io/name": "db2" }),
      pod("old-0", { app: "db" }),
      pod("old2-0", { app: "db2" }),
      pod("both-0", both),
    ];
    const found = findInstances(two, pods, "");
    expect(found.map((each) => each.name)).toEqual(["both", "kaa-db", "kaa-db2"]);
    const older = findInstances(two, pods.slice(2), "");
    expect(older.map((each) => [each.name, each.pods.length])).toEqual([
      ["both", 1],
      ["old2", 1],
    ]);
  });

  const chart = (name: string, component?: string, role?: string) => ({
    "app.kubernetes.io/name": name,
    ...(component !== undefined && { "app.kubernetes.io/component": component }),
    ...(role !== undefined && { role }),
  });
  test.each([
    ["influxdb", { one: chart("influxdb", "influxdb"), two: chart("influxdb2"), relay: chart("influxdb", "relay") }],
    [
      "postgresql",
      {
        one: chart("postgresql", "primary"),
        two: chart("postgresql-ha", "postgresql", "data"),
        pgpool: chart("postgresql-ha", "pgpool"),
        witness: chart("postgresql-ha", "postgresql", "witness"),
      },
    ],
    [
      "mariadb",
      { one: chart("mariadb", "primary"), two: chart("mariadb-galera"), secondary: chart("mariadb", "secondary") },
    ],
    ["minio", { one: chart("minio"), two: chart("minio", "minio"), console: chart("minio", "console") }],
    ["opendistro", { one: { app: "kaa-opendistro-es" }, two: { app: "elasticsearch-opendistro" } }],
  ] as const)("%s is found in every chart, and its helpers are no servers", async (name, labels) => {
    const pods = Object.entries(labels).map(([owner, each]) => pod(`${owner}-0`, each));
    const found = findInstances(await loadDriver(name), pods, "");
    expect(found.map((each) => each.name)).toEqual(["one", "two"]);
  });

  test("helpers alone are no servers", async () => {
    const pods = [pod("pgpool-0", chart("postgresql-ha", "pgpool"))];
    expect(findInstances(await loadDriver("postgresql"), pods, "")).toEqual([]);
  });

  test("--release-name-prefix takes releases whose name begins so, and no others", () => {
    const pods = [pod("kaa-db-0", today("kaa")), pod("kaa2-db-0", today("kaa2")), pod("other-db-0", today("other"))];
    expect(namesOf(pods, "kaa")).toEqual(["kaa-db", "kaa2-db"]);
    expect(namesOf(pods, "kaa2")).toEqual(["kaa2-db"]);
    expect(namesOf(pods, "nothing")).toEqual([]);
  });

  test("pods that have ended, and pods of Jobs, are no servers", () => {
    expect(namesOf([pod("kaa-db-0", today("kaa"), { phase: "Succeeded" })])).toEqual([]);
    expect(namesOf([pod("kaa-db-upgrade-x", { ...today("kaa"), "job-name": "upgrade" })])).toEqual([]);
  });

  test.each(driverNames)("%s has selectors that no other storage's pods match", async (name) => {
    const { selectors } = await loadDriver(name);
    for (const other of driverNames.filter((each) => each !== name)) {
      const others = (await loadDriver(other)).selectors.map((each) => JSON.stringify(each));
      for (const selector of selectors) expect(others).not.toContain(JSON.stringify(selector));
    }
  });
});

describe("matchInstance()", () => {
  const here = (release: string, ...names: string[]) =>
    names.map((name) => ({ storage: "db", name, pods: [pod(`${name}-0`, today(release))] }));

  test("takes the one of the same name", () => {
    expect(matchInstance("kaa-db", "kaa", here("kaa", "kaa-db", "kaa-db2"), false)?.name).toBe("kaa-db");
  });

  test("takes the one that differs by the release's name only", () => {
    expect(matchInstance("prod-db", "prod", here("stage", "stage-db", "stage-db2"), false)?.name).toBe("stage-db");
    expect(matchInstance("prod-db2", "prod", here("stage", "stage-db", "stage-db2"), false)?.name).toBe("stage-db2");
  });

  test("takes the only one there for the only one of the snapshot, whatever they are called", () => {
    expect(matchInstance("prod-main", "prod", here("stage", "stage-db"), true)?.name).toBe("stage-db");
  });

  test("never guesses between several, nor puts two of a snapshot into one", () => {
    expect(matchInstance("prod-main", "prod", here("stage", "stage-db", "stage-db2"), true)).toBeUndefined();
    expect(matchInstance("prod-main", "prod", here("stage", "stage-db"), false)).toBeUndefined();
    const twins = [...here("a", "a-db"), ...here("b", "b-db")];
    expect(matchInstance("prod-db", "prod", twins, true)).toBeUndefined();
  });
});
