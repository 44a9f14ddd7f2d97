import { Writable } from "node:stream";
import type { WriteStream } from "node:tty";

/** stderr as the prompts need it: without colours when there are to be none, and with a way to have them drawn again. */
export class PromptOutput extends Writable {
  readonly isTTY = true;
  readonly #terminal: WriteStream;
  readonly #onResize = () => void this.emit("resize");

  constructor(terminal: WriteStream, color: boolean) {
    super({
      decodeStrings: false,
      write: (chunk: string | Buffer, _encoding, done) => {
        const text = chunk.toString();
        terminal.write(color ? text : text.replaceAll(colors, ""));
        done();
      },
    });
    this.#terminal = terminal;
    terminal.on("resize", this.#onResize);
  }

  get columns(): number {
    return this.#terminal.columns;
  }

  get rows(): number {
    return this.#terminal.rows;
  }

  /** The prompts draw themselves anew when the size has changed, and only what differs. */
  redraw(): void {
    this.emit("resize");
  }

  release(): void {
    this.#terminal.off("resize", this.#onResize);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for
const colors = /\u001B\[[0-9;]*m/g;
