/** What the sweeps of a save share: one archive, beside an earlier one. */
import type { Store } from "../../src/stores/store.ts";
import { inChunks, noise, request } from "./conformance.ts";

export const forever = Number.POSITIVE_INFINITY;
export const bytes = noise(130_000);
export const earlier = Buffer.from("an earlier snapshot");

/** Saves `bytes`. @returns "saved", or what was thrown. */
export async function outcomeOfSave(store: Store, rest: Parameters<typeof request>[1] = {}): Promise<unknown> {
  try {
    await store.save(request(inChunks(bytes, 20_000), rest));
    return "saved";
  } catch (error) {
    return error;
  }
}
