/** Credentials that flags and the configuration file name: files, variables and Secrets, never the credential itself. */
import { readFile, stat } from "node:fs/promises";
import { collect } from "../base/bytes.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { Reporter } from "../base/reporter.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { driverFlags } from "../drivers/registry.ts";
import type { Scope } from "../storages.ts";
import type { Config } from "./config.ts";
import type { StorageFlags } from "./flags.ts";
import type { Io } from "./io.ts";

const longestSecretBytes = 64 * 1024;

/** What the drivers' own flags say. */
export async function credentialsInFlags(
  flags: StorageFlags,
  io: Io,
  reporter: Reporter,
): Promise<Scope["environment"]> {
  const found: { [variable: string]: string } = {};
  for (const [flag, { variable, kind }] of Object.entries(driverFlags)) {
    const value = flags[flag as keyof typeof driverFlags]; // a key of the table itself
    if (value === undefined) continue;
    found[variable] = kind === "text" ? value : await contentOf(value, `--${flag}`, io, reporter);
  }
  return found;
}

/** What the configuration file says of credentials. */
export async function configuredCredentials(
  { credentials }: Config,
  place: { readonly cluster: Cluster; readonly namespace: string; readonly io: Io; readonly reporter: Reporter },
): Promise<Scope["environment"]> {
  const { cluster, namespace, io, reporter } = place;
  const found: { [variable: string]: string } = {};
  for (const [variable, source] of Object.entries(credentials)) {
    if (io.env[variable]) continue; // it would not count
    const value =
      "env" in source
        ? io.env[source.env]
        : "file" in source
          ? await contentOf(source.file, `the configuration's ${variable}`, io, reporter)
          : await cluster.readSecret(namespace, source.secret.name, source.secret.key, io.signal);
    if (!value) {
      const place = "env" in source ? `variable ${source.env}` : "file" in source ? `file "${source.file}"` : undefined;
      const secret = "secret" in source ? `key "${source.secret.key}" of secret "${source.secret.name}"` : "";
      throw new UserError("credentials", `${variable}: ${place ?? secret} is absent or empty`, {
        hints: ["the configuration file names it"],
      });
    }
    found[variable] = value;
  }
  return found;
}

async function contentOf(path: string, who: string, io: Io, reporter: Reporter): Promise<string> {
  try {
    // A stream of bytes: nobody has set an encoding on standard input.
    const input = io.stdin as AsyncIterable<Uint8Array>;
    if (path !== "-") await checkFile(path, reporter);
    const content = path === "-" ? await collect(input, longestSecretBytes) : await readFile(path);
    return content.toString("utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new UserError("usage", `cannot read what ${who} names: ${messageOf(error)}`, { cause: error });
  }
}

/** That all can read it is a warning only: Kubernetes mounts the files of Secrets so that all users of the pod can. */
async function checkFile(path: string, reporter: Reporter): Promise<void> {
  const { mode, uid, size } = await stat(path);
  if (size > longestSecretBytes) throw new RangeError(`"${path}" has more than ${longestSecretBytes} bytes`);
  const isForeign = process.getuid !== undefined && uid !== process.getuid() && uid !== 0;
  if (process.platform !== "win32" && ((mode & 0o004) !== 0 || isForeign))
    reporter.warning(
      `"${path}" holds a credential and ${isForeign ? "is somebody else's" : "can be read by all users"}`,
    );
}
