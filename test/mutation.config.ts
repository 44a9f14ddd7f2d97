import { defineConfig } from "vitest/config";

/** What a mutation run repeats for each mutant: the tests nearest to the code that is mutated, without those that need
 *  processes or half a minute. */
export default defineConfig({
  test: {
    include: ["test/snapshot/*.test.ts", "test/stores/*.test.ts"],
    exclude: ["test/snapshot/memory.test.ts", "test/snapshot/by-hand.test.ts", "test/stores/sweep-bucket.test.ts"],
    // A mutant that makes a test wait for ever is found after this time.
    testTimeout: 10_000,
    setupFiles: ["test/mutation.setup.ts"],
  },
});
