/** Runs the command line in this process, with streams that remember. */
import { Readable, Writable } from "node:stream";
import { run } from "../../src/cli/main.ts";

export interface Session {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A stream that remembers what was written to it. */
export function remembering(): Writable & { text(): string } {
  let written = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written += chunk.toString("utf8");
      done();
    },
  });
  return Object.assign(stream, { text: () => written });
}

/** @param env the whole environment as the command line sees it. Libraries look into the process's own, so a test names
 *  its kubeconfig with --kubeconfig. */
export async function session(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
  given: { readonly name?: string; readonly stdin?: string; readonly isInteractive?: boolean } = {},
): Promise<Session> {
  const [stdout, stderr] = [remembering(), remembering()];
  const io = {
    stdin: Readable.from(given.stdin === undefined ? [] : [Buffer.from(given.stdin)]),
    stdout,
    stderr,
    env: { XDG_CONFIG_HOME: "/nowhere", ...env }, // not that of whoever runs the tests
    isInteractive: given.isInteractive === true,
    isAnimated: false,
    signal: new AbortController().signal,
  };
  const code = await run(argv, io, given.name);
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}
