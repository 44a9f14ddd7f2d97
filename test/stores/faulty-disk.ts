/** A file system that logs its calls and fails those it is told to. */

import type { FileHandle } from "node:fs/promises";
import * as nodeFileSystem from "node:fs/promises";
import type { FileSystem } from "../../src/stores/local-disk.ts";

export interface DiskFault {
  /** `EIO`; or `short`: a write takes half of what it was given. */
  readonly code: string;
  /** `link`, or of an open file: `file.write`. Any call when absent. */
  readonly call?: string;
  /** The first matching call to fail, from 1. */
  readonly nth?: number;
  /** How many matching calls fail from then on. Default: 1. */
  readonly times?: number;
  /** It is done, and then an error comes back, as over a network. */
  readonly afterwards?: boolean;
}

type Call = (...args: readonly unknown[]) => Promise<unknown>;

export class FaultyDisk {
  /** `open /dir/x`, `file.write`, in order. */
  readonly calls: string[] = [];
  readonly fileSystem: FileSystem;
  readonly #faults: { readonly fault: DiskFault; seen: number }[] = [];

  constructor(...faults: readonly DiskFault[]) {
    this.#faults = faults.map((fault) => ({ fault, seen: 0 }));
    this.fileSystem = this.#wrap(nodeFileSystem, "");
  }

  #wrap<T extends object>(target: T, prefix: string): T {
    return new Proxy(target, {
      get: (object, property) => {
        const member: unknown = Reflect.get(object, property);
        if (typeof member !== "function" || typeof property !== "string") return member;
        const name = `${prefix}${property}`;
        return async (...args: readonly unknown[]) => {
          const done = await this.#perform(name, (...given) => member.apply(object, given), args);
          return property === "open" ? this.#wrap(done as FileHandle, "file.") : done;
        };
      },
    });
  }

  async #perform(name: string, call: Call, args: readonly unknown[]): Promise<unknown> {
    const path = typeof args[0] === "string" ? ` ${args[0]}` : "";
    this.calls.push(`${name}${path}`);
    let due: DiskFault | undefined;
    for (const entry of this.#faults) {
      const { fault } = entry;
      if (fault.call !== undefined && fault.call !== name) continue;
      entry.seen++;
      if (entry.seen >= (fault.nth ?? 1) && entry.seen < (fault.nth ?? 1) + (fault.times ?? 1)) due ??= fault;
    }
    if (due === undefined) return await call(...args);
    if (due.code === "short") {
      const [buffer, offset, length, position] = args;
      return await call(buffer, offset, Math.ceil(Number(length) / 2), position);
    }
    // A descriptor is gone even when close() fails.
    if (due.afterwards === true || name === "file.close") {
      const done = await call(...args);
      if (name === "open") await (done as FileHandle).close();
    }
    throw Object.assign(new Error(`${due.code}: injected, ${name}`), { code: due.code, syscall: name });
  }
}
