/** The Kubernetes remote-command sub-protocols over websocket, as pure functions over bytes: each binary message is one
 *  channel number followed by data. Source: k8s.io/apimachinery pkg/util/remotecommand/constants.go, v1.34. */
import { UserError } from "../base/errors.ts";

/** v5 differs from v4 only in that a client may close its stdin; we frame stdin by length, so both serve. */
export const execProtocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"] as const;

/** Two channels (data, error) for each forwarded port. Source: k8s.io/kubelet pkg/cri/streaming/portforward/websocket.go. */
export const forwardProtocol = "v4.channel.k8s.io";

export const channel = { stdin: 0, stdout: 1, stderr: 2, status: 3, resize: 4, close: 255 } as const;

/** One message for the server. */
export function frame(channelNumber: number, data: Uint8Array): Buffer {
  const message = Buffer.allocUnsafe(data.byteLength + 1);
  message[0] = channelNumber;
  message.set(data, 1);
  return message;
}

export interface Frame {
  readonly channel: number;
  readonly data: Buffer;
}

/** @throws UserError `stream-lost` for a message that carries no channel. */
export function parseFrame(message: Buffer): Frame {
  const channelNumber = message[0];
  if (channelNumber === undefined) throw new UserError("stream-lost", "the server sent a message without a channel");
  return { channel: channelNumber, data: message.subarray(1) };
}

/** How the command ended, from the status channel. `exitCode` is undefined when it could not be run at all. */
export type RemoteStatus =
  | { readonly success: true }
  | { readonly success: false; readonly exitCode: number | undefined; readonly message: string };

/** Largest status we read; a real one is a few hundred bytes. */
export const statusLimitBytes = 64 * 1024;

/** Reads the metav1.Status of the status channel; undefined while it is not yet complete JSON. */
export function parseStatus(text: string): RemoteStatus | undefined {
  let status: unknown;
  try {
    status = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (!isRecord(status)) return undefined;
  if (status["status"] === "Success") return { success: true };
  if (status["status"] !== "Failure") return undefined;
  const message = typeof status["message"] === "string" ? status["message"] : "no message";
  return { success: false, exitCode: exitCodeOf(status), message };
}

function exitCodeOf(status: Record<string, unknown>): number | undefined {
  if (status["reason"] !== "NonZeroExitCode" || !isRecord(status["details"])) return undefined;
  const causes = status["details"]["causes"];
  if (!Array.isArray(causes)) return undefined;
  const cause: unknown = causes.find((each: unknown) => isRecord(each) && each["reason"] === "ExitCode");
  const code = isRecord(cause) ? Number(cause["message"]) : Number.NaN;
  return Number.isInteger(code) ? code : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
