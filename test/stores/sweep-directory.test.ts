/** Every call of a save into a directory fails in turn, once or for ever. Afterwards either the whole archive is there, or
 *  nothing of it, or the error says what is left; and earlier files are as they were. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import { directoryStore } from "../../src/stores/local.ts";
import { first, never, second } from "./conformance.ts";
import { type DiskFault, FaultyDisk } from "./faulty-disk.ts";
import { bytes, earlier, forever, outcomeOfSave } from "./sweep.ts";

describe("sweep of a directory", () => {
  const noLinks: DiskFault = { code: "EPERM", call: "link", times: forever };

  const saveOn = async (faults: readonly DiskFault[]) => {
    const path = mkdtempSync(join(tmpdir(), "kaa-sweep-"));
    writeFileSync(join(path, second), earlier);
    const disk = new FaultyDisk(...faults);
    const store = directoryStore(path, { fileSystem: disk.fileSystem });
    const outcome = await outcomeOfSave(store);
    return { path, disk, outcome };
  };

  test.each([
    ["with hard links", []],
    ["without hard links", [noLinks]],
  ])("every call fails, once or for ever, before or after it was done: %s", async (_name, base) => {
    const whole = await saveOn(base);
    expect(whole.outcome).toBe("saved");
    rmSync(whole.path, { recursive: true });
    for (const code of ["EIO", "ENOSPC", "EACCES"]) {
      for (const times of [1, forever]) {
        for (const afterwards of [false, true]) {
          for (let nth = 1; nth <= whole.disk.calls.length; nth++) {
            const { path, outcome } = await saveOn([{ code, nth, times, afterwards }, ...base]);
            check(path, outcome, `${code} x ${times} at call ${nth}, ${afterwards ? "after" : "instead"}`);
            rmSync(path, { recursive: true });
          }
        }
      }
    }
  });

  function check(path: string, outcome: unknown, what: string): void {
    expect(readFileSync(join(path, second)).equals(earlier), what).toBe(true);
    const left = readdirSync(path).filter((name) => name !== second);
    // What is under the final name is whole, or the empty reservation: as a power loss at this call would leave it, too.
    if (left.includes(first)) {
      const found = readFileSync(join(path, first));
      expect(found.byteLength === 0 || found.equals(bytes), what).toBe(true);
    }
    if (outcome === "saved") {
      expect(left, what).toEqual([first]);
      return;
    }
    expect(outcome, what).toBeInstanceOf(UserError);
    const { outcome: how, hints } = outcome as UserError;
    if (how === "leftovers") for (const name of left) expect(hints.join(), what).toContain(name);
    else expect(left, what).toEqual([]);
  }

  test("the next run's prepare() and save() work after a run that died at any call (LD-04, LD-07)", async () => {
    const whole = await saveOn([]);
    rmSync(whole.path, { recursive: true });
    for (let nth = 1; nth <= whole.disk.calls.length; nth++) {
      const { path } = await saveOn([{ code: "EIO", nth, times: forever }]);
      const store = directoryStore(path);
      await store.prepare(never);
      const outcome = await outcomeOfSave(store, { fileName: `01${first.slice(2)}` });
      expect(outcome, `call ${nth}`).toBe("saved");
      rmSync(path, { recursive: true });
    }
  });
});
