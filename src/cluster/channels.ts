/** The Kubernetes remote-command sub-protocols over websocket, as pure functions over bytes: each binary message is one
 *  channel number followed by data. Source: k8s.io/apimachinery pkg/util/remotecommand/constants.go, v1.34. */
import { UserError } from "../base/errors.ts";
import { type Fields, fromJson, list, record, text } from "../base/json.ts";

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
export function parseStatus(json: string): RemoteStatus | undefined {
  const status = record(fromJson(json));
  if (status["status"] === "Success") return { success: true };
  if (status["status"] !== "Failure") return undefined;
  return { success: false, exitCode: exitCodeOf(status), message: text(status["message"]) || "no message" };
}

function exitCodeOf(status: Fields): number | undefined {
  if (status["reason"] !== "NonZeroExitCode") return undefined;
  const cause = list(record(status["details"])["causes"]).find((each) => each["reason"] === "ExitCode");
  const code = text(cause?.["message"]);
  return /^\d+$/.test(code) ? Number(code) : undefined;
}
