/** A file system that logs its calls and fails those it is told to. */

import type { FileHandle } from "node:fs/promises";
import * as nodeFileSystem from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { FileSystem } from "../../src/stores/local-disk.ts";

export interface DiskFault {
  /** `EIO`; or `short`: a write or read moves half of what it was given; `nothing`: a write moves none of it; `damaged`: one of its bits changes on the way, and
   *  the disk says nothing; `late`: it takes its time. */
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

const lateMs = 40;

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
    if (due.code === "nothing") return { bytesWritten: 0 };
    if (due.code === "late") {
      await sleep(lateMs);
      return await call(...args);
    }
    if (due.code === "damaged") return await damaged(name, call, args);
    // A descriptor is gone even when close() fails.
    if (due.afterwards === true || name === "file.close") {
      const done = await call(...args);
      if (name === "open") await (done as FileHandle).close();
    }
    throw Object.assign(new Error(`${due.code}: injected, ${name}`), { code: due.code, syscall: name });
  }
}

/** Of a write, what reaches the disk; of a read, what comes from it. */
async function damaged(name: string, call: Call, [buffer, ...rest]: readonly unknown[]): Promise<unknown> {
  const bytes = buffer as Buffer; // of file.read and file.write
  const [offset, length] = [Number(rest[0] ?? 0), Number(rest[1] ?? bytes.byteLength)];
  const at = offset + (length >> 1);
  if (name === "file.write") {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
    return await call(copy, ...rest);
  }
  const done = (await call(bytes, ...rest)) as { readonly bytesRead: number };
  const last = offset + done.bytesRead - 1;
  if (done.bytesRead > 0) bytes.writeUInt8(bytes.readUInt8(last) ^ 1, last);
  return done;
}
