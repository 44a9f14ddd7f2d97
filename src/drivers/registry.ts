/** The list of storages: adding one is a file and a line here. Flags, help, names in the archive, loading and conformance
 *  tests follow from it. */
import type { Driver } from "./driver.ts";

export const drivers = {
  influxdb: () => import("./influxdb.ts"),
  mariadb: () => import("./mariadb.ts"),
  minio: () => import("./minio.ts"),
  mongodb: () => import("./mongodb.ts"),
  opendistro: () => import("./opendistro.ts"),
  postgresql: () => import("./postgresql.ts"),
  vault: () => import("./vault.ts"),
} satisfies Record<string, () => Promise<{ default: Driver }>>;

export type DriverName = keyof typeof drivers;

/** In the order in which they are dumped, listed and restored. */
export const driverNames = Object.keys(drivers) as readonly DriverName[]; // the keys of the table above

export function isDriverName(name: string): name is DriverName {
  return Object.hasOwn(drivers, name);
}

export async function loadDriver(name: DriverName): Promise<Driver> {
  return (await drivers[name]()).default;
}

/** Flags by which the operator hands over what single drivers need. Each sets a variable of a driver's
 *  `credentialVariables`, over the environment. `file`: the flag names a file whose content (without the newline at its
 *  end) is the value; "-" is standard input. Nothing secret may be a `text`, which everybody sees in the process list. */
export const driverFlags = {
  "vault-token-file": { variable: "VAULT_TOKEN", kind: "file", describe: "File with a token for Vault" },
  "vault-unseal-keys-file": {
    variable: "VAULT_UNSEAL_KEYS",
    kind: "file",
    describe: 'File with the unseal keys of the Vault that was backed up, one a line ("-": standard input)',
  },
  "opendistro-endpoint": {
    variable: "OPENDISTRO_S3_ENDPOINT",
    kind: "text",
    describe: "URL by which Open Distro's pods reach S3, when it is another than ours",
  },
} as const satisfies Record<
  string,
  { readonly variable: string; readonly kind: "file" | "text"; readonly describe: string }
>;
