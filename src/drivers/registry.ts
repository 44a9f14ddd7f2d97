/** The list of storages: adding one is a file and a line here. Flags, help, names in the archive, loading and conformance
 *  tests follow from it. */
import type { Driver } from "./driver.ts";

export const drivers = {
  mariadb: () => import("./mariadb.ts"),
  postgresql: () => import("./postgresql.ts"),
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
