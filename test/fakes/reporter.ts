/** Reporters for tests: one that says nothing, one that remembers. */
import type { Reporter } from "../../src/base/reporter.ts";

export const silentReporter: Reporter = {
  planned() {},
  started() {},
  progressBytes() {},
  finished() {},
  failed() {},
  note() {},
  warning() {},
  detail() {},
};

/** @returns a reporter, and what it was told, in order: ["started", "vault/kaa-vault", {…}]. */
export function rememberingReporter() {
  const told: (readonly [keyof Reporter, ...unknown[]])[] = [];
  const remember =
    (name: keyof Reporter) =>
    (...facts: readonly unknown[]) => {
      told.push([name, ...facts]);
    };
  const names = Object.keys(silentReporter) as (keyof Reporter)[]; // it is a Reporter and nothing else
  const reporter = Object.fromEntries(names.map((name) => [name, remember(name)])) as unknown as Reporter;
  return { reporter, told };
}
