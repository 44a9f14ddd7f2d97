/** An eighth storage is a file, a line in the registry and a page: a toy one is backed up and restored by the use-cases that
 *  know nothing of it; and each real one has its page. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { digestOf } from "../../src/base/bytes.ts";
import type { Cluster, Pod } from "../../src/cluster/cluster.ts";
import { readSmall } from "../../src/drivers/commands.ts";
import type { Driver } from "../../src/drivers/driver.ts";
import type { Scope } from "../../src/storages.ts";
import { scopeOf } from "../fakes/scope.ts";
import { heldLock } from "../fakes/script-cluster.ts";
import { directoryUnderTest } from "../stores/places.ts";

let held = "";

const toy: Driver = {
  storage: "toy",
  title: "Toy",
  canUseDirectory: true,
  credentialVariables: ["TOY_PASSWORD"],
  selectors: [{ app: "toy" }],
  inspect: async () => ({ serverVersion: "1", estimatedBytes: held.length, contents: ["toy"], warnings: [] }),
  async dump(_instance, output, context) {
    const bytes = Buffer.from(held);
    await output.stream("toy", {
      encoding: "identity",
      bytes: (async function* () {
        yield bytes;
      })(),
      finish: async () => ({ plain: digestOf(bytes), stored: digestOf(bytes), by: "protocol" }),
    });
    return {
      counts: { letters: held.length },
      warnings: [],
      facts: { password: context.credentials["TOY_PASSWORD"] ?? "" },
    };
  },
  plan: async () => ({ drops: [], creates: ["toy"], keeps: [], warnings: [], obstacles: [] }),
  async restore(_instance, backup) {
    const [stream] = backup.streams;
    held = stream === undefined ? "" : (await readSmall(stream)).toString();
    return { counts: { letters: held.length }, warnings: [] };
  },
};

beforeEach(() => {
  vi.resetModules();
  vi.doMock("../../src/drivers/registry.ts", async (original) => {
    const real = await original<typeof import("../../src/drivers/registry.ts")>();
    return {
      ...real,
      driverNames: [...real.driverNames, "toy"],
      isDriverName: (name: string) => name === "toy" || real.isDriverName(name),
      loadDriver: async (name: string) => (name === "toy" ? toy : await real.loadDriver(name as "vault")),
    };
  });
});
afterEach(() => {
  vi.doUnmock("../../src/drivers/registry.ts");
  vi.resetModules();
});

test("a toy storage is found, backed up, listed and restored", async () => {
  const { backup } = await import("../../src/backup.ts");
  const { restore } = await import("../../src/restore.ts");
  const { listSnapshots } = await import("../../src/catalog.ts");
  const place = await directoryUnderTest();
  const pod = { name: "toy-0", namespace: "kaa", uid: "1", labels: { app: "toy" }, owner: "toy", ready: true };
  const cluster: Partial<Cluster> = {
    checkNamespace: async () => {},
    listPods: async () => [{ ...pod, phase: "Running", containers: [] } as Pod],
    version: async () => "v1.34.4",
    lock: async () => heldLock,
  };
  const scope: Scope = {
    ...scopeOf(cluster, AbortSignal.timeout(20_000)),
    environment: { TOY_PASSWORD: "asked for" },
  };
  const storages = ["toy" as "vault"]; // the registry's type cannot know it
  try {
    held = "what the toy holds";
    const made = await backup(
      {
        storages,
        named: true,
        strict: true,
        compressionLevel: 1,
        tool: { name: "test", version: "0" },
        retry: { attempts: 1, pauseMs: 0, readyMs: 0 },
      },
      scope,
      place.store,
    );
    expect(made.manifest.instances).toMatchObject([{ storage: "toy", counts: { letters: 18 } }]);
    expect(made.manifest.instances[0]?.facts).toEqual({ password: "asked for" });
    const [entry] = await listSnapshots(place.store, scope.signal);
    held = "lost";
    const request = { sourceNamespace: "kaa", storages, named: false, dryRun: false, confirm: async () => {} };
    const outcome = await restore({ ...request, date: entry?.name ?? "" }, scope, place.store);
    expect(outcome).toMatchObject({ differences: [], failures: [] });
    expect(held).toBe("what the toy holds");
  } finally {
    await place.dispose();
  }
});

test("every storage has its page", async () => {
  const { driverNames } = await vi.importActual<typeof import("../../src/drivers/registry.ts")>(
    "../../src/drivers/registry.ts",
  );
  expect(driverNames.length).toBeGreaterThanOrEqual(7);
  for (const name of driverNames) {
    const page = fileURLToPath(new URL(`../../docs/storages/${name}.md`, import.meta.url));
    expect(existsSync(page), `docs/storages/${name}.md`).toBe(true);
  }
});
