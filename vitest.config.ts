import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** By name, not by what took how long here: the files that share the bed run in the same order everywhere. */
class ByName extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.sort((a, b) => a.moduleId.localeCompare(b.moduleId, "en"));
  }
}

// Some tests wait for processes and clocks, and one in hundreds of runs is late on a busy machine: it is tried once more, and
// the run says so. What fails twice fails.
const retry = 1;

const sweepTimes = {
  testTimeout: process.env["KAA_SWEEP_SCALE"] === undefined ? 300_000 : 12 * 3_600_000,
  hookTimeout: 300_000,
};

export default defineConfig({
  test: {
    sequence: { sequencer: ByName },
    // Many wait for a clock or a process: one worker, which two cores would get, leaves half of them idle.
    maxWorkers: 2,
    // Where bytes are taken, kept and given back.
    coverage: {
      include: ["src/cluster/*.ts", "src/snapshot/*.ts", "src/stores/*.ts"],
      reporter: ["text", "json"],
      thresholds: {
        "src/cluster/*.ts": { branches: 95 },
        "src/snapshot/*.ts": { branches: 95 },
        "src/stores/*.ts": { branches: 95 },
      },
    },
    projects: [
      {
        test: {
          name: "unit",
          retry,
          // For machines that do much else.
          testTimeout: 60_000,
          // Many of the tests that may run together wait: for a budget to be used up, for a silent server.
          maxConcurrency: 16,
          include: ["test/{base,cluster,cli,drivers,snapshot,stores,plugin}/**/*.test.ts", "test/*.test.ts"],
        },
      },
      {
        test: {
          name: "integration",
          retry,
          include: ["test/integration/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        test: {
          name: "faults",
          retry,
          include: ["test/faults/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      // A sample of each sweep; `npm run test:sweep` runs all of it, which takes hours (test/sweeps/sweep.ts).
      { test: { name: "sweeps", include: ["test/sweeps/*.test.ts"], ...sweepTimes } },
      // Those that need the real S3 server that the bed is built with.
      { test: { name: "sweeps-real", include: ["test/sweeps/real/*.test.ts"], ...sweepTimes } },
      {
        test: {
          name: "e2e",
          include: ["test/e2e/*.test.ts"],
          testTimeout: 900_000,
          hookTimeout: 3_000_000,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // What takes too long, or too much disk, for every day.
        test: {
          name: "large",
          include: ["test/e2e/large/*.test.ts"],
          testTimeout: 3_000_000,
          hookTimeout: 3_000_000,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
