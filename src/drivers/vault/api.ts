/** Vault's HTTP API: one pod, one token. */
import type { Agent } from "node:http";
import type { Bytes } from "../../base/bytes.ts";
import { UserError } from "../../base/errors.ts";
import type { Pod } from "../../cluster/cluster.ts";
import { chooseContainerPort, field } from "../commands.ts";
import type { Context } from "../driver.ts";
import { openRequest, podAgent, quickMs, sendRequest } from "../http.ts";

export const tokenVariable = "VAULT_TOKEN";
export const unsealKeysVariable = "VAULT_UNSEAL_KEYS";

export class VaultApi {
  readonly pod: Pod;
  readonly #agent: Agent;
  readonly #token: string | undefined;
  readonly #signal: AbortSignal;

  /** The caller must `close()`.
   *  @throws UserError `credentials` for a token that none can be. */
  constructor(pod: Pod, context: Context) {
    this.pod = pod;
    const { cluster, signal } = context;
    this.#token = context.credentials[tokenVariable]?.trim();
    if (this.#token !== undefined && !/^[!-~]*$/.test(this.#token))
      throw new UserError("credentials", "the token for Vault has characters that no token has", {
        hints: [`look at what ${tokenVariable} or --vault-token-file gives: one line, and nothing else`],
      });
    this.#agent = podAgent({ cluster, pod, ...portOf(pod) }, signal);
    this.#signal = signal;
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Calls an endpoint that answers JSON, or nothing.
   *  @param path below /v1/.
   *  @returns the answer, or undefined when the status is 404.
   *  @throws UserError `credentials` (403), `storage-not-ready` (503: sealed), else `storage-failed` with Vault's words. */
  async call(method: string, path: string, body?: unknown): Promise<unknown> {
    const request = { method, path: `/v1/${path}`, headers: this.#headers(), signal: this.#signal, answerMs: quickMs };
    const { status, body: answer } = await sendRequest(this.#agent, {
      ...request,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    if (status === 404) return undefined;
    if (status >= 300) throw this.#refusal(status, answer.toString("utf8"), `${method} ${path}`);
    if (answer.byteLength === 0) return undefined;
    try {
      return JSON.parse(answer.toString("utf8"));
    } catch (error) {
      const where = `Vault in pod "${this.pod.name}"`;
      throw new UserError("storage-failed", `${where}: ${method} ${path}: the answer is not JSON`, { cause: error });
    }
  }

  /** The raft snapshot as it comes; whether it is whole only its content says. */
  async readSnapshot(): Promise<Bytes> {
    const path = "sys/storage/raft/snapshot";
    const { status, body } = await openRequest(this.#agent, {
      method: "GET",
      path: `/v1/${path}`,
      headers: this.#headers(),
      signal: this.#signal,
    });
    if (status === 200) return body;
    let text = "";
    for await (const chunk of body) text += Buffer.from(chunk).toString("utf8").slice(0, 4096);
    throw this.#refusal(status, text, `GET ${path}`);
  }

  /** @param path `sys/storage/raft/snapshot`, or with `-force` behind it. */
  async sendSnapshot(path: string, snapshot: Bytes): Promise<{ readonly status: number; readonly words: string }> {
    const { status, body } = await sendRequest(this.#agent, {
      method: "POST",
      path: `/v1/${path}`,
      headers: this.#headers(),
      body: snapshot,
      signal: this.#signal,
    });
    return { status, words: errorsIn(body.toString("utf8")) };
  }

  /** The refusal of an answer, in Vault's words. */
  refusal(status: number, words: string, doing: string): UserError {
    const where = `Vault in pod "${this.pod.name}"`;
    if (status === 403) return new UserError("credentials", `${where} refuses the token: ${doing}: ${words}`);
    if (status === 503) return new UserError("storage-not-ready", `${where} is sealed or standby: ${words}`);
    return new UserError("storage-failed", `${where}: ${doing}: HTTP ${status}: ${words}`);
  }

  #refusal(status: number, body: string, doing: string): UserError {
    return this.refusal(status, errorsIn(body), doing);
  }

  #headers(): Record<string, string> {
    return { "x-vault-request": "true", ...(this.#token && { "x-vault-token": this.#token }) };
  }
}

function errorsIn(body: string): string {
  try {
    const errors = field(JSON.parse(body), "errors");
    if (Array.isArray(errors)) return errors.join("; ").trim().slice(0, 1000) || "no reason given";
  } catch {
    // Not Vault's own words; a proxy's, perhaps.
  }
  return "no reason given";
}

function portOf(pod: Pod): { readonly port: number; readonly tls: boolean } {
  const port = chooseContainerPort(pod, { names: ["https", "http"], fallback: 8200 });
  const address = pod.containers.map((each) => each.environment["VAULT_ADDR"]).find((each) => each !== undefined);
  const tls = address !== undefined && "value" in address ? address.value.startsWith("https:") : port.name === "https";
  return { port: port.port, tls };
}
