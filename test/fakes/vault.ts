/** A scripted Vault with raft storage, and raft snapshots as it makes them. */
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { tarEnd, tarHeader, tarPadding } from "../../src/drivers/tar.ts";

const sha256 = (text: string | Buffer) => createHash("sha256").update(text).digest("hex");

/** @param level of gzip; 0 for what does not compress. */
export function raftSnapshot(members: readonly (readonly [string, string | Buffer])[], level = 6): Buffer {
  const parts = members.flatMap(([name, content]) => [
    tarHeader(name, Buffer.byteLength(content)),
    Buffer.from(content),
    tarPadding(Buffer.byteLength(content)),
  ]);
  return gzipSync(Buffer.concat([...parts, tarEnd]), { level });
}

/** The members of a whole snapshot of this state. */
export function raftMembers<State extends string | Buffer>(state: State) {
  const sums = `${sha256("{}")}  meta.json\n${sha256(state)}  state.bin\n`;
  return [
    ["meta.json", "{}"],
    ["state.bin", state],
    ["SHA256SUMS", sums],
    ["SHA256SUMS.sealed", "sealed"],
  ] as const;
}

/** A Vault whose state a test sets, and which records what it is told. */
export interface Vault {
  sealed: boolean;
  initialized: boolean;
  standby: boolean;
  storageType: string;
  clusterId: string;
  token: string;
  rights: readonly string[];
  snapshot: Buffer;
  keys: readonly string[];
  /** Refuses an unforced snapshot, as Vault does for one that was taken under other keys. */
  keysChanged: boolean;
  forced: boolean;
  progress: string[];
  loaded: Buffer | undefined;
  /** Bytes of snapshots that a connection has taken, and that have come. */
  sentBytes: number;
  receivedBytes: number;
  /** How fast a snapshot is taken. */
  bytesPerSecond: number;
  requests: string[];
}

export async function startVault(
  changes: Partial<Vault> = {},
): Promise<{ readonly vault: Vault; readonly server: Server; readonly port: number }> {
  const vault: Vault = {
    ...{ sealed: false, initialized: true, standby: false, storageType: "raft", clusterId: "here", token: "root" },
    ...{ rights: ["root"], snapshot: raftSnapshot(raftMembers("s".repeat(100_000))) },
    ...{ keys: ["k1", "k2"], keysChanged: false, forced: false, progress: [], loaded: undefined, requests: [] },
    ...{ sentBytes: 0, receivedBytes: 0, bytesPerSecond: Number.POSITIVE_INFINITY },
    ...changes,
  };
  const server = createServer(async (request, response) => {
    const body: Buffer[] = [];
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        body.push(chunk);
        vault.receivedBytes += chunk.byteLength;
        const waitMs = (chunk.byteLength / vault.bytesPerSecond) * 1000;
        if (waitMs > 0) await pause(waitMs);
      }
    } catch {
      return; // the client went away
    }
    const path = (request.url ?? "").replace("/v1/sys/", "");
    vault.requests.push(`${request.method} ${path}`);
    const [status, answer] = answerOf(vault, `${request.method} ${path}`, Buffer.concat(body), request.headers);
    response.statusCode = status;
    if (!Buffer.isBuffer(answer)) response.end(JSON.stringify(answer));
    else await pipeline(Readable.from(countedPieces(vault, answer)), response).catch(() => {}); // the client went away
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { vault, server, port: (server.address() as AddressInfo).port };
}

function* countedPieces(vault: Vault, answer: Buffer): Generator<Buffer> {
  for (let at = 0; at < answer.byteLength; at += 64 * 1024) {
    const piece = answer.subarray(at, at + 64 * 1024);
    vault.sentBytes += piece.byteLength;
    yield piece;
  }
}

function answerOf(
  vault: Vault,
  call: string,
  body: Buffer,
  headers: Record<string, unknown>,
): readonly [number, unknown] {
  if (call === "GET seal-status") {
    const { sealed, initialized, storageType, clusterId } = vault;
    const about = { type: "shamir", t: 2, version: "1.21.4", storage_type: storageType, cluster_id: clusterId };
    return [200, { sealed, initialized, ...about }];
  }
  if (call === "GET leader") return [200, { is_self: !vault.standby, leader_address: "http://x" }];
  if (call === "POST unseal") {
    const { key, reset } = JSON.parse(body.toString()) as { key?: string; reset?: boolean };
    vault.progress = reset === true ? [] : [...vault.progress, key ?? ""];
    if (vault.progress.length === 2) {
      if (!vault.progress.every((each) => vault.keys.includes(each))) return [400, { errors: ["failed to decrypt"] }];
      vault.sealed = false;
    }
    return [200, { sealed: vault.sealed }];
  }
  if (vault.sealed) return [503, { errors: ["Vault is sealed"] }];
  if (headers["x-vault-token"] !== vault.token) return [403, { errors: ["permission denied"] }];
  if (call === "POST capabilities-self") return [200, { capabilities: vault.rights }];
  if (call === "GET storage/raft/snapshot") return [200, vault.snapshot];
  if (call.startsWith("POST storage/raft/snapshot")) {
    if (vault.keysChanged && !call.endsWith("-force"))
      return [
        400,
        { errors: ["could not verify hash file, possibly the snapshot is using a different set of unseal keys"] },
      ];
    vault.loaded = body;
    vault.forced = call.endsWith("-force");
    if (vault.forced) Object.assign(vault, { sealed: true, token: "source's" });
    return [204, ""];
  }
  if (call === "GET mounts") return [200, { data: { "sys/": { type: "system" } } }];
  if (call === "GET auth") return [200, { data: { "token/": {} } }];
  if (call === "GET policies/acl?list=true") return [200, { data: { keys: ["default", "root"] } }];
  return [200, { data: {} }];
}
