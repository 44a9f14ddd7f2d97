/** Runs the command line in this process, with streams that remember. */
import { Readable, Writable } from "node:stream";
import { run } from "../../src/cli/main.ts";

export interface Session {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param env the whole environment as the command line sees it. Libraries look into the process's own, so a test names
 *  its kubeconfig with --kubeconfig. */
export async function session(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Session> {
  const texts = { stdout: "", stderr: "" };
  const remembering = (name: keyof typeof texts) =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        texts[name] += chunk.toString("utf8");
        done();
      },
    });
  const code = await run(argv, {
    stdin: Readable.from([]),
    stdout: remembering("stdout"),
    stderr: remembering("stderr"),
    env,
    isInteractive: false,
    isAnimated: false,
    signal: new AbortController().signal,
  });
  return { code, ...texts };
}
