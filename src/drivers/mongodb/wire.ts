/** A client for MongoDB's wire protocol (OP_MSG) over one connection to a pod: enough to log in by SCRAM and run commands.
 *  The official driver can only connect to an address, and there is none: the way to the pod is a stream in this process.
 *  https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from "node:crypto";
import type { Duplex } from "node:stream";
import { Binary, type Document, deserialize, serialize } from "bson";
import { messageOf, UserError } from "../../base/errors.ts";
import { defaultStallMs, StallTimer } from "../../base/stall.ts";

const opMsg = 2013;
const headerBytes = 16;
/** The server's own limit for one message. */
const messageLimitBytes = 48_000_000;

export interface Login {
  readonly user: string;
  readonly password: string;
}

/** A command that the server has refused. */
export class CommandError extends Error {
  readonly code: number;

  constructor(command: string, answer: Document) {
    super(`${command}: ${String(answer["errmsg"] ?? "refused")}`);
    this.name = "CommandError";
    this.code = Number(answer["code"] ?? 0);
  }
}

export class WireClient {
  readonly #connection: Duplex;
  readonly #input: AsyncIterator<Buffer>;
  readonly #stallMs: number;
  readonly #timer: StallTimer;
  #buffer: Buffer = Buffer.alloc(0);
  #lastRequest = 0;

  /** Takes the connection over; the caller must `close()`.
   *  @param stallMs longest wait for the next bytes of an answer. */
  constructor(connection: Duplex, stallMs = defaultStallMs) {
    this.#connection = connection;
    this.#stallMs = stallMs;
    this.#timer = new StallTimer((error) => connection.destroy(error));
    this.#input = connection[Symbol.asyncIterator]();
  }

  close(): void {
    this.#connection.destroy();
  }

  /** Runs one command.
   *  @param stallMs for one that the server answers late, because the work takes long.
   *  @returns the answer; numbers of 64 bits as bigint are not used: those too large for a number stay objects of `bson`.
   *  @throws CommandError when the server refuses; UserError `stream-lost` when the connection breaks. */
  async command(database: string, command: Document, stallMs = this.#stallMs): Promise<Document> {
    const [name = ""] = Object.keys(command);
    this.#lastRequest += 1;
    const body = serialize({ ...command, $db: database });
    const message = Buffer.alloc(headerBytes + 5 + body.byteLength);
    message.writeInt32LE(message.byteLength, 0);
    message.writeInt32LE(this.#lastRequest, 4);
    message.writeInt32LE(opMsg, 12);
    message.set(body, headerBytes + 5); // after the flags and the kind of the only section, all zero
    this.#connection.write(message);
    const answer = await this.#answer(name, stallMs);
    if (answer["ok"] !== 1) throw new CommandError(name, answer);
    const [failed] = (answer["writeErrors"] as Document[] | undefined) ?? [];
    if (failed !== undefined) throw new CommandError(name, failed);
    return answer;
  }

  async #answer(command: string, stallMs: number): Promise<Document> {
    try {
      const header = await this.#take(headerBytes, stallMs);
      const length = header.readInt32LE(0);
      if (header.readInt32LE(8) !== this.#lastRequest || header.readInt32LE(12) !== opMsg)
        throw new Error("an answer that was not asked for");
      if (length < headerBytes + 5 || length > messageLimitBytes) throw new Error(`a message of ${length} bytes`);
      const body = await this.#take(length - headerBytes, stallMs);
      if (body[4] !== 0) throw new Error("an answer of an unknown kind");
      return deserialize(body.subarray(5, 5 + body.readInt32LE(5)), { promoteBuffers: false });
    } catch (error) {
      this.close();
      if (error instanceof UserError) throw error;
      const why = messageOf(error);
      throw new UserError("stream-lost", `the connection to MongoDB failed at "${command}": ${why}`, { cause: error });
    }
  }

  async #take(bytes: number, stallMs: number): Promise<Buffer> {
    while (this.#buffer.byteLength < bytes) {
      this.#timer.start(stallMs);
      const { done, value } = await this.#input.next().finally(() => this.#timer.stop());
      if (done === true) throw new Error("it was closed");
      this.#buffer = Buffer.concat([this.#buffer, value]);
    }
    const taken = this.#buffer.subarray(0, bytes);
    this.#buffer = this.#buffer.subarray(bytes);
    return taken;
  }

  /** All documents of a command that answers with a cursor: find, listCollections. */
  async *documents(database: string, command: Document): AsyncGenerator<Document> {
    let { cursor } = await this.command(database, command);
    let batch = cursor.firstBatch as Document[];
    while (true) {
      yield* batch;
      if (String(cursor.id) === "0") return;
      const [, collection] = /^[^.]*\.(.*)$/s.exec(String(cursor.ns)) ?? [];
      ({ cursor } = await this.command(database, { getMore: cursor.id, collection }));
      batch = cursor.nextBatch as Document[];
    }
  }

  /** Logs in against the database admin, by SCRAM-SHA-256 where the server can, else by SCRAM-SHA-1 (before 4.0).
   *  @throws UserError `credentials`. */
  async logIn(login: Login): Promise<void> {
    const { user } = login;
    const hello = await this.command("admin", { hello: 1, saslSupportedMechs: `admin.${user}` }).catch(() =>
      this.command("admin", { isMaster: 1, saslSupportedMechs: `admin.${user}` }),
    );
    const mechanisms = hello["saslSupportedMechs"] as readonly string[] | undefined;
    const isModern = mechanisms === undefined || mechanisms.includes("SCRAM-SHA-256");
    try {
      await this.#scram(login, isModern ? "SCRAM-SHA-256" : "SCRAM-SHA-1");
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      throw new UserError("credentials", `MongoDB refuses the login of "${user}"`, { cause: error });
    }
  }

  /** RFC 5802 and 7677. */
  async #scram({ user, password }: Login, mechanism: "SCRAM-SHA-1" | "SCRAM-SHA-256"): Promise<void> {
    const hash = mechanism === "SCRAM-SHA-256" ? "sha256" : "sha1";
    // SCRAM-SHA-1 is computed over MongoDB's own digest of the password.
    const secret = hash === "sha256" ? password : createHash("md5").update(`${user}:mongo:${password}`).digest("hex");
    const nonce = randomBytes(24).toString("base64");
    const first = `n=${user.replaceAll("=", "=3D").replaceAll(",", "=2C")},r=${nonce}`;
    const start = { saslStart: 1, mechanism, payload: binary(`n,,${first}`), options: { skipEmptyExchange: true } };
    const challenge = await this.command("admin", start);
    const serverFirst = textOf(challenge["payload"]);
    const { r: both = "", s: salt = "", i: iterations = "" } = attributes(serverFirst);
    if (!both.startsWith(nonce) || Number(iterations) < 4096 || Number(iterations) > 10_000_000)
      throw new UserError("credentials", "MongoDB's challenge for the login is not valid");
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest();
    const length = hash === "sha256" ? 32 : 20;
    const salted = pbkdf2Sync(secret, Buffer.from(salt, "base64"), Number(iterations), length, hash);
    const withoutProof = `c=biws,r=${both}`;
    const everything = `${first},${serverFirst},${withoutProof}`;
    const clientKey = hmac(salted, "Client Key");
    const signature = hmac(createHash(hash).update(clientKey).digest(), everything);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0))).toString("base64");
    const conversationId = challenge["conversationId"];
    let answer = await this.command("admin", {
      saslContinue: 1,
      conversationId,
      payload: binary(`${withoutProof},p=${proof}`),
    });
    const expected = hmac(hmac(salted, "Server Key"), everything);
    const verifier = Buffer.from(attributes(textOf(answer["payload"]))["v"] ?? "", "base64");
    if (verifier.byteLength !== expected.byteLength || !timingSafeEqual(verifier, expected))
      throw new UserError("credentials", "MongoDB could not prove that it knows the password");
    if (answer["done"] !== true)
      answer = await this.command("admin", { saslContinue: 1, conversationId, payload: binary("") });
  }
}

function binary(text: string): Binary {
  return new Binary(Buffer.from(text, "utf8"));
}

function textOf(payload: unknown): string {
  return payload instanceof Binary ? Buffer.from(payload.value()).toString("utf8") : "";
}

function attributes(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(text.split(",").map((each) => [each.slice(0, 1), each.slice(2)]));
}
