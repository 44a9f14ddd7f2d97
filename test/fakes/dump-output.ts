/** Where a driver's dump goes in tests: into memory. */
import { collect } from "../../src/base/bytes.ts";
import type { DumpOutput } from "../../src/drivers/driver.ts";

/** Streams of at most a mebibyte, by name; each stream's own count is asked for, too. */
export function collecting() {
  const stored = new Map<string, Buffer>();
  const output: DumpOutput = {
    async stream(name, { bytes, finish }) {
      stored.set(name, await collect(bytes, 1 << 20));
      await finish();
    },
  };
  return { stored, output };
}
