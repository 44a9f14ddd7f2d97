/** Looks for passwords, tokens and keys of the bed where they must not be: in command lines, logs, anything that was printed. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bedEnvironment, kubectl } from "./bed.ts";

/** Every secret that the bed knows, by a name for messages. */
export async function everySecret(): Promise<ReadonlyMap<string, string>> {
  const secrets = new Map<string, string>();
  const environment = bedEnvironment();
  for (const namespace of (environment["BED_NAMESPACES"] ?? "").split(" ")) {
    const { items } = JSON.parse(await kubectl(["-n", namespace, "get", "secrets", "-o", "json"]));
    for (const { metadata, data } of items) {
      for (const [key, value] of Object.entries(data as Record<string, string>)) {
        if (/user(name)?$|access-key$/.test(key)) continue; // names are no secrets
        secrets.set(`${namespace}/${metadata.name}/${key}`, Buffer.from(value, "base64").toString("utf8"));
      }
    }
    const vault = join(environment["BED_RUN"] ?? "", "vault", namespace);
    secrets.set(`${namespace}: Vault's root token`, readFileSync(join(vault, "root-token"), "utf8").trim());
    for (const key of readFileSync(join(vault, "unseal-keys"), "utf8").trim().split("\n"))
      secrets.set(`${namespace}: unseal key ${key.slice(0, 4)}…`, key);
  }
  secrets.set("the key of the S3 server", environment["AWS_SECRET_ACCESS_KEY"] ?? "");
  return secrets;
}

/** Names of the secrets that a text holds, in any form in which programs write them. */
export function secretsIn(text: string, secrets: ReadonlyMap<string, string>): readonly string[] {
  return [...secrets]
    .filter(([, secret]) =>
      [
        secret,
        encodeURIComponent(secret),
        JSON.stringify(secret).slice(1, -1),
        Buffer.from(secret).toString("base64").replace(/=+$/, ""),
      ].some((form) => text.includes(form)),
    )
    .map(([name]) => name);
}

const pollMs = 50;
/** A process begins as a copy of its parent and becomes another program a moment later. */
const glances = 5;

/** Sees the command lines of all processes of this machine, those in pods too, until it is told to stop. One that lives
 *  shorter than a glance may escape it. */
export function watchCommandLines(): { stop(): readonly string[] } {
  const seen = new Set<string>();
  let known = new Map<string, number>();
  const timer = setInterval(() => {
    const alive = new Map<string, number>();
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const times = known.get(pid) ?? 0;
      alive.set(pid, times + 1);
      if (times >= glances) continue;
      try {
        seen.add(readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " "));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== "ENOENT" && code !== "ESRCH") throw error; // it has ended
      }
    }
    known = alive;
  }, pollMs);
  return {
    stop() {
      clearInterval(timer);
      return [...seen];
    },
  };
}
