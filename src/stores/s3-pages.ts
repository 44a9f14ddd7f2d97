/** Tells a listing that goes in circles, which some broken stores and proxies give, from one that is long. */
export class Pages {
  readonly #seen = new Set<string>();

  /** True when this page begins, or would go on, as an earlier one did.
   *  @param page `first`: what stands first on it; `next`: where the store says that the next one begins. */
  isRepeated(page: { readonly first: string | undefined; readonly next: string | undefined }): boolean {
    const marks = Object.entries(page).flatMap(([kind, mark]) => (mark === undefined ? [] : `${kind} ${mark}`));
    const repeated = marks.some((mark) => this.#seen.has(mark));
    for (const mark of marks) this.#seen.add(mark);
    return repeated;
  }
}
