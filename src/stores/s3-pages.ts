/** Stores may give empty pages, where they have passed over what does not match; so many in a row none has. */
const emptyLimit = 300;

/** Tells a listing that goes in circles, which some broken stores and proxies give, from one that is long. */
export class Pages {
  readonly #seen = new Set<string>();
  #empty = 0;

  /** True when this page begins, or would go on, as an earlier one did, or is one of too many that are empty.
   *  @param page `first`: what stands first on it; `next`: where the store says that the next one begins. */
  isRepeated(page: { readonly first: string | undefined; readonly next: string | undefined }): boolean {
    const marks = Object.entries(page).flatMap(([kind, mark]) => (mark === undefined ? [] : `${kind} ${mark}`));
    const repeated = marks.some((mark) => this.#seen.has(mark));
    for (const mark of marks) this.#seen.add(mark);
    this.#empty = page.first === undefined ? this.#empty + 1 : 0;
    return repeated || this.#empty > emptyLimit;
  }
}
