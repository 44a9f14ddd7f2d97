/** A real terminal without a window: a program runs on a pseudo-terminal, an emulator keeps its screen, a test reads the
 *  screen and presses keys. */
import { setTimeout as sleep } from "node:timers/promises";
import pty, { type IPty } from "@lydell/node-pty";
import xterm from "@xterm/headless";

export const keys = { up: "\x1b[A", down: "\x1b[B", enter: "\r", escape: "\x1b", ctrlC: "\x03", space: " " } as const;

export interface Ended {
  readonly exitCode: number;
  readonly signal?: number | undefined;
}

/** A run of characters that look alike. */
export interface StyledText {
  readonly text: string;
  /** Where it begins, and how many columns it takes. */
  readonly column: number;
  readonly width: number;
  /** Of the terminal's palette; undefined for its usual one. */
  readonly color: number | undefined;
  readonly isBold: boolean;
  readonly isDim: boolean;
}

export class PseudoTerminal implements AsyncDisposable {
  /** All that the program wrote, escape sequences and all. */
  output = "";
  readonly #pty: IPty;
  readonly #screen: InstanceType<typeof xterm.Terminal>;
  readonly #ended: Promise<Ended>;
  #hasEnded = false;

  /** @param env the program's whole environment, but for TERM. */
  constructor(
    argv: readonly [string, ...string[]],
    options: {
      readonly env: Readonly<Record<string, string>>;
      readonly columns?: number;
      readonly rows?: number;
    },
  ) {
    const { columns: cols = 100, rows = 40, env } = options;
    const [file, ...args] = argv;
    this.#screen = new xterm.Terminal({ cols, rows, scrollback: 1000, allowProposedApi: true });
    this.#pty = pty.spawn(file, args, { cols, rows, env: { TERM: "xterm-256color", ...env } });
    this.#pty.onData((data) => {
      this.output += data;
      this.#screen.write(data);
    });
    this.#ended = new Promise((resolve) => {
      this.#pty.onExit((ended) => {
        this.#hasEnded = true;
        resolve(ended);
      });
    });
  }

  /** What is on the screen and above it, without the empty end. */
  get text(): string {
    const { active } = this.#screen.buffer;
    const rows = Array.from({ length: active.length }, (_, row) => active.getLine(row)?.translateToString(true) ?? "");
    return rows.join("\n").trimEnd();
  }

  /** The same with colours, row by row. */
  get rows(): readonly (readonly StyledText[])[] {
    const { active } = this.#screen.buffer;
    const length = this.text.split("\n").length;
    return Array.from({ length }, (_, row) => {
      const line = active.getLine(row);
      const runs: StyledText[] = [];
      for (let column = 0; column < (line?.length ?? 0); column++) {
        const cell = line?.getCell(column);
        if (cell === undefined || cell.getWidth() === 0) continue;
        const style = {
          color: cell.isFgPalette() ? cell.getFgColor() : undefined,
          isBold: cell.isBold() !== 0,
          isDim: cell.isDim() !== 0,
        };
        const last = runs.at(-1);
        const [text, width] = [cell.getChars() || " ", cell.getWidth()];
        const isAlike = last?.color === style.color && last?.isBold === style.isBold && last?.isDim === style.isDim;
        if (last !== undefined && isAlike)
          runs[runs.length - 1] = { ...last, text: last.text + text, width: last.width + width };
        else runs.push({ text, column, width, ...style });
      }
      return runs.flatMap((run) => {
        const text = run.text.trim();
        const before = run.text.length - run.text.trimStart().length;
        const width = run.width - (run.text.length - text.length);
        return text === "" ? [] : [{ ...run, text, column: run.column + before, width }];
      });
    });
  }

  press(...pressed: readonly string[]): void {
    for (const each of pressed) this.#pty.write(each);
  }

  /** Sends a signal to the program. */
  kill(signal: NodeJS.Signals): void {
    this.#pty.kill(signal);
  }

  resize(columns: number, rows: number): void {
    this.#screen.resize(columns, rows);
    this.#pty.resize(columns, rows);
  }

  /** Waits until the screen shows it.
   *  @returns the screen then. @throws with the screen when the program ends or nothing comes. */
  async shows(wanted: string | RegExp, withinMs = 20_000): Promise<string> {
    for (const endMs = performance.now() + withinMs; ; await sleep(20)) {
      const { text } = this;
      if (typeof wanted === "string" ? text.includes(wanted) : wanted.test(text)) return text;
      if (this.#hasEnded) await sleep(100); // the last bytes are being drawn
      if (performance.now() < endMs && !this.#hasEnded) continue;
      const last = this.text;
      if (typeof wanted === "string" ? last.includes(wanted) : wanted.test(last)) return last;
      throw new Error(`the terminal does not show ${wanted}, but:\n${last}`);
    }
  }

  /** Waits for the end of the program and of its output. */
  async end(withinMs = 20_000): Promise<Ended> {
    const late = AbortSignal.timeout(withinMs);
    const ended = await Promise.race([
      this.#ended,
      new Promise<never>((_, reject) => {
        late.addEventListener("abort", () => reject(new Error(`still running:\n${this.text}`)));
      }),
    ]);
    await new Promise<void>((resolve) => this.#screen.write("", resolve));
    return ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasEnded) this.#pty.kill("SIGKILL");
    await this.#ended;
    this.#screen.dispose();
  }
}
