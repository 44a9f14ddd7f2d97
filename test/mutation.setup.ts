import { inject, vi } from "vitest";

declare module "vitest" {
  interface ProvidedContext {
    /** Stryker's. */
    readonly mode: "dry-run" | "mutant";
  }
}

// Stryker has the tests run one after another, and its first run needs that, to see which of them reaches which code. With a
// mutant in place that is known, and those that wait may do so together.
if (inject("mode") === "mutant") vi.setConfig({ maxConcurrency: 16 });
