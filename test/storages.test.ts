/** What the use-cases do with storages that do not answer. */
import { describe, expect, test } from "vitest";
import { UserError } from "../src/base/errors.ts";
import { answered } from "../src/storages.ts";

describe("a question to a server", () => {
  const never = (signal: AbortSignal) =>
    new Promise<string>((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

  test("that is answered has that answer", async () => {
    await expect(answered(new AbortController().signal, async () => "yes")).resolves.toBe("yes");
  });

  test("that fails has that failure", async () => {
    const failure = new UserError("credentials", "access denied");
    await expect(answered(new AbortController().signal, () => Promise.reject(failure))).rejects.toBe(failure);
  });

  test("that is never answered is a storage that is not ready", async () => {
    await expect(answered(new AbortController().signal, never, 20)).rejects.toMatchObject({
      outcome: "storage-not-ready",
      message: expect.stringContaining("no answer"),
    });
  });

  test("that is cut off by the run's end has the run's reason", async () => {
    const stop = new AbortController();
    const reason = new UserError("interrupted", "stopped by Ctrl-C");
    setTimeout(() => stop.abort(reason), 5);
    await expect(answered(stop.signal, never)).rejects.toBe(reason);
  });
});
