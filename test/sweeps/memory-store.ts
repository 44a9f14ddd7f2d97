import type { Store } from "../../src/stores/store.ts";
import { fileOf } from "../snapshot/make.ts";

/** A store that holds one file and lets nobody change it. */
export function memoryStore(file: { readonly fileName: string; readonly bytes: Buffer }): Store {
  const readOnly = async () => {
    throw new Error("the store is to be read only");
  };
  return {
    location: "memory",
    prepare: readOnly,
    check: readOnly,
    save: readOnly,
    discardUnfinished: readOnly,
    remove: readOnly,
    async *list() {
      yield { fileName: file.fileName, sizeBytes: file.bytes.byteLength, modifiedAt: new Date(0) };
    },
    async open() {
      const { fileName, sizeBytes, read } = fileOf(file);
      return { fileName, sizeBytes, read: read.bind(fileOf(file)), close: async () => {} };
    },
    clockAheadMs: () => undefined,
  };
}
