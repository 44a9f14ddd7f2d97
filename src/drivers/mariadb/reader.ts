/** Reads along in mariadb-dump's output: counts its rows, which are then exactly those of the dump's own transaction (no
 *  session can share it, so no query could count them, and none has to scan the tables), and looks for its last line. */
import { once } from "node:events";
import { createGunzip } from "node:zlib";
import type { Bytes } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";

const newline = 0x0a;
const apostrophe = 0x27;
const openBracket = 0x28;
const semicolon = 0x3b;
const letterV = 0x56;
const backslash = 0x5c;
const backtick = 0x60;

const insert = "INSERT INTO ";
const tailBytes = 512;

/** head: at the beginning of a line. line: after it, in a line without rows. columns: in an INSERT, before VALUES.
 *  rows: in its rows, up to the semicolon. text: in a string there; escaped: after a backslash there. */
type Place = "head" | "line" | "columns" | "name" | "rows" | "text" | "escaped";

/** Understands both layouts: a line for each row (10.6 and later) and a line for each INSERT. */
export class DumpReader {
  rows = 0;
  #place: Place = "head";
  #head = "";
  /** Between "DELIMITER ;;" and "DELIMITER ;" are routines, triggers and events: an INSERT there is their text. */
  #inBody = false;
  #tail = "";

  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#place === "head") at = this.#readHead(bytes, at);
      else if (this.#place === "line") at = this.#skipLine(bytes, at);
      else at = this.#readInsert(bytes, at);
    }
    const last = Buffer.from(bytes.subarray(-tailBytes)).toString("latin1");
    this.#tail = (this.#tail + last).slice(-tailBytes);
  }

  /** True when mariadb-dump came to its end. */
  get ended(): boolean {
    return /\n-- Dump completed[^\n]*\n$/.test(this.#tail);
  }

  #readHead(bytes: Uint8Array, from: number): number {
    let at = from;
    for (; at < bytes.length && this.#head.length < insert.length; at++) {
      if (bytes[at] === newline) break;
      this.#head += String.fromCharCode(bytes[at] ?? 0);
    }
    if (at === bytes.length && this.#head.length < insert.length) return at;
    if (this.#head === "DELIMITER ;;") this.#inBody = true;
    else if (this.#head === "DELIMITER ;") this.#inBody = false;
    this.#place = this.#head === insert && !this.#inBody ? "columns" : "line";
    this.#head = "";
    return at;
  }

  #skipLine(bytes: Uint8Array, from: number): number {
    const end = bytes.indexOf(newline, from);
    if (end < 0) return bytes.length;
    this.#place = "head";
    return end + 1;
  }

  #readInsert(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && this.#place !== "line") {
      if (this.#place === "rows") at = this.#readRows(bytes, at);
      else if (this.#place === "text") at = this.#readText(bytes, at);
      else if (this.#place === "columns") at = this.#readColumns(bytes, at);
      else {
        if (this.#place === "escaped") this.#place = "text";
        else if (bytes[at] === backtick) this.#place = "columns";
        at++;
      }
    }
    return at;
  }

  #readRows(bytes: Uint8Array, from: number): number {
    let rows = 0;
    let at = from;
    while (at < bytes.length) {
      const byte = bytes[at++];
      if (byte === openBracket) rows++;
      else if (byte === apostrophe || byte === semicolon) {
        this.#place = byte === semicolon ? "line" : "text";
        break;
      }
    }
    this.rows += rows;
    return at;
  }

  #readText(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length) {
      const byte = bytes[at++];
      if (byte === apostrophe || byte === backslash) {
        this.#place = byte === apostrophe ? "rows" : "escaped";
        break;
      }
    }
    return at;
  }

  /** Names are in backticks, so that the first V outside them is that of VALUES. */
  #readColumns(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length) {
      const byte = bytes[at++];
      if (byte === backtick || byte === letterV) {
        this.#place = byte === backtick ? "name" : "rows";
        break;
      }
    }
    return at;
  }
}

/** Passes a dump through unchanged, in its encoding, while the reader sees its text.
 *  @throws UserError `storage-failed` when the dump ends without mariadb-dump's last line. */
export async function* readAlong(
  bytes: Bytes,
  encoding: "identity" | "gzip",
  reader: DumpReader,
): AsyncGenerator<Uint8Array> {
  if (encoding === "gzip") yield* gunzipAlong(bytes, reader);
  else {
    for await (const chunk of bytes) {
      reader.update(chunk);
      yield chunk;
    }
  }
  if (!reader.ended) throw new UserError("storage-failed", "the dump lacks its last line: it is cut");
}

async function* gunzipAlong(bytes: Bytes, reader: DumpReader): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip();
  const reading = (async () => {
    for await (const text of gunzip) reader.update(text);
  })();
  reading.catch(() => {}); // awaited below; here only so that an early return leaves nothing unhandled
  try {
    for await (const chunk of bytes) {
      if (!gunzip.write(chunk)) await Promise.race([once(gunzip, "drain"), reading]);
      yield chunk;
    }
    gunzip.end();
    await reading;
  } catch (error) {
    const isOurs = error instanceof Error && "code" in error && String(error.code).startsWith("Z_");
    if (!isOurs) throw error;
    throw new UserError("storage-failed", "what the pod compressed does not decompress", { cause: error });
  } finally {
    gunzip.destroy();
  }
}
