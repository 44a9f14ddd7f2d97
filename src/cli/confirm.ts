/** The question that cannot be answered by accident. */
import { createInterface } from "node:readline/promises";
import { UserError } from "../base/errors.ts";
import type { Io } from "./io.ts";

/** Asks for words to be typed.
 *  @param expected the words, each asked for in turn by `question`.
 *  @param asked.effect what has become of data when it is not confirmed.
 *  @throws UserError `refused` for other words; `interrupted` for Ctrl-C, Ctrl-D and Escape. */
export async function confirmByTyping(
  io: Pick<Io, "stdin" | "stderr" | "signal">,
  expected: readonly string[],
  asked: { readonly question: (word: string) => string; readonly effect: string },
): Promise<void> {
  const { effect } = asked;
  const lines = createInterface({ input: io.stdin, output: io.stderr });
  const left = new AbortController();
  const leave = () => left.abort();
  const onKey = (_: unknown, key: { readonly name?: string } | undefined) => {
    if (key?.name === "escape") leave();
  };
  io.stdin.on("keypress", onKey);
  lines.on("SIGINT", leave).on("close", leave); // Ctrl-C and Ctrl-D
  const signal = AbortSignal.any([io.signal, left.signal]);
  try {
    for (const word of expected) {
      const typed = await lines.question(asked.question(word), { signal });
      if (typed.trim() === word) continue;
      const hints = ["type it as the question shows it; --yes does not ask"];
      throw new UserError("refused", `not confirmed: that is not "${word}"`, { effect, hints });
    }
  } catch (error) {
    if (error instanceof UserError) throw error;
    io.stderr.write("\n");
    io.signal.throwIfAborted();
    throw new UserError("interrupted", "not confirmed", { effect });
  } finally {
    io.stdin.off("keypress", onKey);
    lines.close();
  }
}
