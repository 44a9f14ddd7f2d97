/** What drivers keep outside the archive: parts of a snapshot that an engine has written by itself, beside the file. */
import { messageOf } from "./base/errors.ts";
import type { Described, InstanceContents, SnapshotContents } from "./catalog.ts";
import { driverNames, isDriverName, loadDriver } from "./drivers/registry.ts";
import { contextFor, type Found, findStorages, type Scope, taskName } from "./storages.ts";

/** The instances of a snapshot of which its file holds only a part. */
export async function outsideParts(manifest: SnapshotContents): Promise<readonly InstanceContents[]> {
  const drivers = await driversOutside();
  return manifest.instances.filter((each) => drivers.some(({ storage }) => storage === each.storage));
}

/** The drivers that leave something outside the archive. */
export async function driversOutside() {
  const drivers = await Promise.all(driverNames.map(loadDriver));
  return drivers.filter((driver) => driver.discard !== undefined);
}

/** Deletes what drivers have left outside the archive for a snapshot whose file is gone. Never throws.
 *  @returns what stays, for people. The next `create` of this namespace deletes that: a driver throws away what belongs to
 *  no published file. */
export type Discard = (snapshot: Described) => Promise<readonly string[]>;

/** Looks for the running instances once, when the first snapshot needs them. */
export function discarding(scope: Scope): Discard {
  let found: Promise<readonly Found[]> | undefined;
  return async (snapshot) => {
    const parts = snapshot.manifest && (await outsideParts(snapshot.manifest));
    if (parts?.length === 0) return [];
    try {
      found ??= driversOutside().then((drivers) =>
        findStorages(scope, drivers.map(({ storage }) => storage).filter(isDriverName)),
      );
      const running = await found;
      // The file told nothing: then every instance is asked whether it has something of that name.
      return parts === undefined
        ? await discardAll(snapshot, running, scope)
        : await discardParts(snapshot, parts, running, scope);
    } catch (error) {
      return [`what is outside the file of ${snapshot.name} stays: ${messageOf(error)}`];
    }
  };
}

async function discardParts(
  { name }: Described,
  parts: readonly InstanceContents[],
  running: readonly Found[],
  scope: Scope,
): Promise<readonly string[]> {
  const left: string[] = [];
  for (const { storage, instance: wanted, facts } of parts) {
    const here = running.find(({ driver }) => driver.storage === storage);
    const instance = here?.instances.find((each) => each.name === wanted);
    try {
      if (here === undefined || instance === undefined) throw new Error(`it does not run in "${scope.namespace}"`);
      await here.driver.discard?.(instance, facts, contextOf(name, here, instance, scope));
    } catch (error) {
      left.push(`${storage}/${wanted}: its part of ${name} stays: ${messageOf(error)}`);
    }
  }
  return left;
}

async function discardAll({ name }: Described, running: readonly Found[], scope: Scope): Promise<readonly string[]> {
  const left: string[] = [];
  for (const here of running) {
    for (const instance of here.instances) {
      try {
        await here.driver.discard?.(instance, undefined, contextOf(name, here, instance, scope));
      } catch (error) {
        left.push(`${taskName(instance)}: what it has of ${name} stays: ${messageOf(error)}`);
      }
    }
  }
  return left;
}

function contextOf(snapshotName: string, { driver }: Found, instance: Found["instances"][number], scope: Scope) {
  return { ...contextFor(scope, driver, instance), snapshotName };
}
