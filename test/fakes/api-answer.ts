/** Exec of the scripted API server without a process: a function says what the command answers, and this side does what the
 *  wrapper in a pod does: takes secrets and input from stdin, counts, hashes, reports. So thousands of runs take minutes, and
 *  a connection can be cut at any byte of what a pod sends. */
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import type { WebSocket } from "ws";

export interface AnsweredCommand {
  readonly script: string;
  readonly args: readonly string[];
  readonly input: Buffer;
}

/** @returns the command's output. */
export type Answer = (command: AnsweredCommand) => Uint8Array | string;

/** The connection ends after so many bytes of what the pod sends: output, the wrapper's report and the status. */
export interface Cut {
  readonly afterBytes: number;
  /** `silence`: nothing more comes, and nobody says so. `success`: nothing more but a status that says success. */
  readonly how: "reset" | "fin" | "close" | "close-1001" | "silence" | "success";
  /** Called when it happens. */
  readonly onCut?: () => void;
  /** Called with the bytes of each message. */
  readonly onSent?: (bytes: number) => void;
}

/** Between two frames, for those who look on. */
export interface AnswerOptions {
  readonly cut: Cut | undefined;
  readonly onFrame: () => void;
}

const frameBytes = 32 * 1024;
const highWaterBytes = 4 * 1024 * 1024;
const newline = 0x0a;
const success = JSON.stringify({ metadata: {}, status: "Success" });

/** argv as `src/cluster/remote.ts` makes it. */
export function answerExec(
  { client, socket }: { readonly client: WebSocket; readonly socket: Socket },
  argv: readonly string[],
  answer: Answer,
  options: AnswerOptions,
): void {
  const [, , , , nonce = "", length = "none", , decoder = "", encoder = "", body = "", ...args] = argv;
  let received = Buffer.alloc(0);
  let hasAnswered = false;
  client.on("error", () => {});
  client.on("message", (message: Buffer) => {
    if (message[0] !== 0 || hasAnswered) return;
    received = Buffer.concat([received, message.subarray(1)]);
    const blankLine = received[0] === newline ? -1 : received.indexOf("\n\n");
    if (blankLine < 0 && received[0] !== newline) return;
    const secretsEnd = blankLine + 2;
    const wanted = length === "none" ? 0 : Number(length);
    if (received.byteLength < secretsEnd + wanted) return;
    hasAnswered = true;
    const secrets = received.subarray(0, secretsEnd).toString("latin1");
    const raw = received.subarray(secretsEnd, secretsEnd + wanted);
    const [, script] = /^KAA_SCRIPT=(.*)$/m.exec(secrets) ?? [];
    const [, quoted = ""] = /^KAA_ARGUMENTS=(.*)$/m.exec(secrets) ?? [];
    const plain = Buffer.from(
      answer({
        script: script === undefined ? body : unescaped(script),
        args: script === undefined ? args : argumentsIn(unescaped(quoted)),
        input: decoder === "gzip" ? gunzipSync(raw) : raw,
      }),
    );
    const sent = encoder === "gzip" ? gzipSync(plain, { level: 1 }) : plain;
    const report = [
      ...(length === "none" ? [] : [`received ${measureOf(raw)}`, `decoder 0`]),
      "status 0",
      ...(encoder === "gzip" ? [`plain ${measureOf(plain)}`, "encoder 0"] : []),
      `sent ${measureOf(sent)}`,
    ].join(" ");
    void deliver(
      { client, socket },
      [
        ...piecesOf(sent).map((data) => [1, data] as const),
        [2, Buffer.from(`\nkaa-backup ${nonce} ${report}\n`)],
        [3, Buffer.from(success)],
      ],
      options,
    );
  });
}

/** What a shell makes of words in single quotes. */
function argumentsIn(quoted: string): readonly string[] {
  return [...quoted.matchAll(/(?:'[^']*'|\\')+/g)].map(([word]) => word.replaceAll(/'([^']*)'|\\(')/g, "$1$2"));
}

async function deliver(
  { client, socket }: { readonly client: WebSocket; readonly socket: Socket },
  messages: readonly (readonly [channel: number, data: Uint8Array])[],
  { cut, onFrame }: AnswerOptions,
): Promise<void> {
  let left = cut?.afterBytes ?? Number.POSITIVE_INFINITY;
  for (const [channel, data] of messages) {
    while (client.bufferedAmount > highWaterBytes && client.readyState === client.OPEN) await sleep(5);
    const whole = data.byteLength <= left;
    const piece = data.subarray(0, left);
    if (piece.byteLength > 0 && client.readyState === client.OPEN)
      client.send(Buffer.concat([Buffer.from([channel]), piece]));
    onFrame();
    cut?.onSent?.(data.byteLength);
    left -= data.byteLength;
    if (whole && left > 0) continue;
    if (cut !== undefined) end({ client, socket }, cut);
    return;
  }
  client.close(1000);
}

function end({ client, socket }: { readonly client: WebSocket; readonly socket: Socket }, { how, onCut }: Cut): void {
  onCut?.();
  if (how === "reset")
    socket.destroy(); // without TLS's own goodbye
  else if (how === "fin") socket.end();
  else if (how === "close") client.close(1000);
  else if (how === "close-1001") client.close(1001);
  else if (how === "silence")
    socket.pause(); // nor are pings answered
  else {
    client.send(Buffer.concat([Buffer.from([3]), Buffer.from(success)]));
    client.close(1000);
  }
}

function piecesOf(data: Buffer): readonly Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < data.byteLength; at += frameBytes) pieces.push(data.subarray(at, at + frameBytes));
  return pieces;
}

function measureOf(data: Uint8Array): string {
  return `${data.byteLength} ${createHash("sha256").update(data).digest("hex")}`;
}

/** printf's %b, as far as `secretLines` uses it. */
function unescaped(text: string): string {
  const bytes = [...text.matchAll(/\\0([0-7]{3})/g)].map(([, octal = ""]) => Number.parseInt(octal, 8));
  return Buffer.from(bytes).toString("utf8");
}
