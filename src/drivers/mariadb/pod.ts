/** What all commands in MariaDB's pod have in common: the password they get, and what becomes of their failures. */
import { messageOf, type Outcome, UserError } from "../../base/errors.ts";
import type { Context } from "../driver.ts";

export const passwordVariable = "MARIADB_ROOT_PWD";

const outcomes: readonly { readonly words: RegExp; readonly outcome: Outcome; readonly message: string }[] = [
  {
    // 1045 and 1698 wrong password, 1130 host not allowed, 4151 locked, 1820 and 1862 expired
    words:
      /Access denied for user|is not allowed to connect|account is locked|You must SET PASSWORD|password has expired/,
    outcome: "credentials",
    message: "MariaDB refuses the login",
  },
  {
    words: /Can't connect to|Too many connections|Server shutdown in progress|WSREP has not yet prepared/,
    outcome: "storage-not-ready",
    message: "MariaDB cannot be reached",
  },
  {
    words: /\(1412\)|Table definition has changed/,
    outcome: "storage-failed",
    message: "a table was altered, truncated or recreated while it was to be dumped",
  },
];

export function secrets({ credentials }: Context): Readonly<Record<string, string>> {
  const password = credentials[passwordVariable];
  return password === undefined ? {} : { KAA_PASSWORD: password };
}

/** Runs something in the pod and gives its failure the right outcome. The client prints the statement that failed, which is
 *  data: only the server's words about it stay. */
export async function inPod<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const words = wordsOf(error);
    const cause = words === "" ? {} : { cause: new Error(words) };
    const known = outcomes.find((each) => error.outcome === "storage-failed" && each.words.test(words));
    const message = known === undefined ? error.message : `${known.message}: ${error.message}`;
    throw new UserError(known?.outcome ?? error.outcome, message, { hints: error.hints, ...cause });
  }
}

function wordsOf(error: UserError): string {
  const lines = messageOf(error.cause ?? "").split("\n");
  const kept = lines.filter((line) => /^(ERROR|mariadb|mysql|cat|sh|kaa)\b/.test(line));
  return kept.join("\n").slice(-4096);
}
