/** InfluxDB 1.x's HTTP API: queries as the administrator. */
import type { Agent } from "node:http";
import { UserError } from "../../base/errors.ts";
import type { JsonValue } from "../../base/json.ts";
import { readEnvironment } from "../commands.ts";
import type { Context } from "../driver.ts";
import { sendRequest } from "../http.ts";
import type { Found } from "./generation.ts";

export const userVariable = "INFLUXDB_ADMIN_USER";
export const passwordVariable = "INFLUXDB_ADMIN_USER_PASSWORD";

type Row = Readonly<Record<string, JsonValue>>;

/** A server, and how to log in to it. */
export class InfluxApi {
  readonly administrator: string;
  readonly #agent: Agent;
  readonly #authorization: string | undefined;
  readonly #signal: AbortSignal;

  private constructor(agent: Agent, login: { readonly user: string; readonly password: string }, signal: AbortSignal) {
    this.#agent = agent;
    this.administrator = login.user;
    const encoded = Buffer.from(`${login.user}:${login.password}`, "utf8").toString("base64");
    this.#authorization = login.user === "" ? undefined : `Basic ${encoded}`;
    this.#signal = signal;
  }

  /** Takes the login from what the operator has set, else from the container's environment. */
  static async of({ target, agent }: Found, context: Context): Promise<InfluxApi> {
    const names = [userVariable, passwordVariable, "INFLUXDB_ADMIN_PASSWORD"] as const;
    const inPod = await readEnvironment(context, target, names);
    const user = context.credentials[userVariable] ?? inPod[userVariable] ?? "";
    const password =
      context.credentials[passwordVariable] ?? inPod[passwordVariable] ?? inPod["INFLUXDB_ADMIN_PASSWORD"] ?? "";
    return new InfluxApi(agent, { user, password }, context.signal);
  }

  /** Runs one statement, which is sent in the body: some hold passwords.
   *  @returns its rows, those of all series behind one another, with the name of each row's series as "".
   *  @throws UserError `credentials`; `storage-failed` with the server's words. */
  async query(statement: string, database?: string): Promise<readonly Row[]> {
    const form = new URLSearchParams({ q: statement, ...(database !== undefined && { db: database }) });
    const { status, body } = await sendRequest(this.#agent, {
      method: "POST",
      path: "/query",
      headers: {
        "content-type": "application/x-www-form-urlencoded",
        ...(this.#authorization !== undefined && { authorization: this.#authorization }),
      },
      body: form.toString(),
      signal: this.#signal,
    });
    const verb = statement.split(" ", 2).join(" "); // never the whole: it may hold a password
    const answer = parse(body.toString("utf8"));
    if (status === 401 || status === 403) {
      const who = this.administrator === "" ? "without a login" : `the login of "${this.administrator}"`;
      throw new UserError("credentials", `InfluxDB refuses ${who}`, { cause: answer.error });
    }
    const failure = answer.error ?? answer.results?.find((each) => each.error !== undefined)?.error;
    if (status >= 300 || failure !== undefined)
      throw new UserError("storage-failed", `InfluxDB: ${verb}: ${failure ?? `HTTP ${status}`}`);
    return (answer.results?.[0]?.series ?? []).flatMap(({ name, columns, values }) =>
      (values ?? []).map((row) => ({
        "": name ?? "",
        ...Object.fromEntries(columns.map((column, index) => [column, row[index] ?? null])),
      })),
    );
  }

  /** The texts of one column of a statement's rows. */
  async names(statement: string, column = "name"): Promise<readonly string[]> {
    return (await this.query(statement)).map((row) => String(row[column] ?? ""));
  }
}

interface Answer {
  readonly error?: string;
  readonly results?: readonly {
    readonly error?: string;
    readonly series?: readonly {
      readonly name?: string;
      readonly columns: readonly string[];
      readonly values?: readonly (readonly JsonValue[])[];
    }[];
  }[];
}

function parse(text: string): Answer {
  try {
    return JSON.parse(text) as Answer; // the form of InfluxDB 1.x's answers
  } catch {
    return { error: "the answer is not JSON" };
  }
}

/** A name as InfluxQL reads it: in double quotes. */
export function identifier(name: string): string {
  return `"${escaped(name).replaceAll('"', '\\"')}"`;
}

/** A text as InfluxQL reads it: in single quotes. */
export function literal(text: string): string {
  return `'${escaped(text).replaceAll("'", "\\'")}'`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}
