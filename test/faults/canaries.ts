/** Secrets that must show nowhere, and the search for them. */
import { readdir, readFile } from "node:fs/promises";

/** Distinct enough that a hit is a leak; with characters that every encoding changes. */
export const canaries = {
  bearer: "canary-bearer-8c1d/+",
  rootPassword: "canary-root $p'w\"d%\\8c1d",
  vaultToken: "canary-vault-8c1d/+=",
  searchPassword: "canary-search-8c1d/+",
  awsSecret: "canary-aws-8c1d/+secret",
  /** What a row of the database holds: data is no text for a terminal either. */
  row: "canary-row-8c1d",
} as const;

/** Each canary as it may be disguised: raw, base64, base64url, hexadecimal, in a URL, in JSON. */
const disguises = Object.entries(canaries).flatMap(([name, secret]) => {
  const bytes = Buffer.from(secret);
  const forms = [
    secret,
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    bytes.toString("hex"),
    encodeURIComponent(secret),
    encodeURI(secret),
    new URLSearchParams({ s: secret }).toString().slice(2),
    JSON.stringify(secret).slice(1, -1),
  ];
  return [...new Set(forms)].map((form) => ({ name, form }));
});

/** Names of the canaries that a text holds. */
export function canariesIn(text: string): readonly string[] {
  return [...new Set(disguises.filter(({ form }) => text.includes(form)).map(({ name }) => name))];
}

/** Watches the command lines of all processes of this machine until it is stopped. */
export class CommandLines {
  readonly found = new Set<string>();
  readonly #timer = setInterval(() => void this.#look(), 150).unref();
  #isLooking = false;

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    for (const id of await readdir("/proc")) {
      if (!/^\d+$/.test(id)) continue;
      const line = await readFile(`/proc/${id}/cmdline`, "utf8").catch(() => ""); // it has ended
      for (const name of canariesIn(line)) this.found.add(`${name} in the command line of "${line.slice(0, 80)}"`);
    }
    this.#isLooking = false;
  }
}
