/** Port-forward of the scripted API server, to real ports on loopback. */
import { connect } from "node:net";
import type { WebSocket } from "ws";

/** What goes wrong with one forwarded connection. `afterBytes` counts what the pod has sent. */
export type ForwardFault =
  | {
      readonly kind: "cut" | "reset" | "silence" | "error-channel";
      readonly afterBytes: number;
      /** What the error channel says. */
      readonly words?: string;
    }
  | { readonly kind: "split-port" | "no-port" | "other-port" | "channel-7" | "text" }
  | { readonly kind: "refuse"; readonly status: number; readonly body: string };

const enoughBuffered = 1 << 20;

export function runForward(
  client: WebSocket,
  { port, real }: { readonly port: number; readonly real: number | undefined },
  fault: ForwardFault | undefined,
): void {
  const deliver = (channel: number, data: Uint8Array | string) => {
    if (client.readyState === client.OPEN) client.send(Buffer.concat([Buffer.from([channel]), Buffer.from(data)]));
  };
  client.on("error", () => {});
  const portBytes = Buffer.from([port & 255, port >> 8]);
  for (const channel of [0, 1]) {
    if (fault?.kind === "no-port") continue;
    else if (fault?.kind === "split-port") for (const byte of portBytes) deliver(channel, Buffer.from([byte]));
    else if (fault?.kind === "other-port") deliver(channel, Buffer.from([1, 0]));
    else deliver(channel, portBytes);
  }
  if (fault?.kind === "channel-7") deliver(7, "x");
  if (fault?.kind === "text") client.send("hello");
  const refuse = () => deliver(1, `dial tcp 127.0.0.1:${port}: connect: connection refused`);
  if (real === undefined) {
    refuse();
    return;
  }
  let sent = 0;
  let isSilent = false;
  const upstream = connect(real, "127.0.0.1");
  upstream.on("data", (chunk) => {
    if (isSilent) return;
    if (fault !== undefined && "afterBytes" in fault && sent + chunk.byteLength > fault.afterBytes) {
      deliver(0, chunk.subarray(0, fault.afterBytes - sent));
      isSilent = true;
      if (fault.kind === "cut") client.close(1000);
      else if (fault.kind === "reset") client.terminate();
      else if (fault.kind === "silence")
        client.pause(); // nor are pings answered
      else if (fault.kind === "error-channel") deliver(1, fault.words ?? "lost connection to pod");
      return;
    }
    sent += chunk.byteLength;
    deliver(0, chunk);
    if (client.bufferedAmount <= enoughBuffered) return;
    upstream.pause();
    const timer = setInterval(() => {
      if (client.bufferedAmount > enoughBuffered / 4 && client.readyState === client.OPEN) return;
      clearInterval(timer);
      upstream.resume();
    }, 5);
  });
  upstream.on("error", refuse);
  upstream.on("close", () => {
    if (!isSilent) client.close(1000);
  });
  client.on("message", (message: Buffer) => {
    if (message[0] !== 0 || upstream.write(message.subarray(1))) return;
    client.pause();
    upstream.once("drain", () => client.resume());
  });
  client.on("close", () => upstream.destroy());
}
