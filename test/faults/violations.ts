/** What must hold after every fault, whatever it was: told as sentences about what does not. */
import { outcomes } from "../../src/base/errors.ts";
import { openSnapshot } from "../../src/snapshot/reader.ts";
import { isSnapshotFileName } from "../../src/stores/store.ts";
import { fileOf, never } from "../snapshot/make.ts";
import type { Ended } from "./program.ts";
import { bucket, filesIn, type Place, type World } from "./world.ts";

const places: readonly Place[] = ["s3", "directory"];

/** What there is, to be compared after a run. */
export interface State {
  readonly files: Readonly<Record<Place, ReadonlyMap<string, Buffer>>>;
  readonly source: string;
}

export function stateOf(world: World): State {
  const snapshots = (place: Place) => new Map([...filesIn(world, place)].filter(([name]) => isSnapshotFileName(name)));
  return { files: { s3: snapshots("s3"), directory: snapshots("directory") }, source: world.database.content };
}

/** @param options.killed the run could not clean up. */
export async function violations(
  world: World,
  earlier: State,
  options: { readonly killed?: boolean; readonly ended?: Ended } = {},
): Promise<string[]> {
  const found: string[] = [];
  for (const place of places) {
    const now = filesIn(world, place);
    for (const [name, bytes] of earlier.files[place]) {
      if (!now.get(name)?.equals(bytes)) found.push(`${place}: "${name}" is lost or changed`);
    }
    for (const [name, bytes] of now) {
      if (earlier.files[place].has(name)) continue;
      if (!isSnapshotFileName(name)) {
        if (options.killed !== true) found.push(`${place}: "${name}" was left behind`);
      } else if (!(await isWhole(name, bytes))) found.push(`${place}: "${name}" is published and not whole`);
    }
  }
  if (options.killed !== true) {
    const open = [...world.s3.bucket(bucket).uploads.values()].map(({ key }) => key);
    if (open.length > 0) found.push(`s3: uploads are open: ${open.join(", ")}`);
  }
  if (world.database.content !== earlier.source) found.push("the source was changed");
  if (options.ended !== undefined) found.push(...complaintsAbout(options.ended, world));
  return found;
}

async function isWhole(fileName: string, bytes: Buffer): Promise<boolean> {
  // A name that is reserved on a file system without hard links; never listed.
  if (bytes.byteLength === 0) return true;
  try {
    await (await openSnapshot(fileOf({ fileName, bytes }), never)).verifyAll(never);
    return true;
  } catch {
    return false;
  }
}

/** One clear error for a failure, and no secret anywhere. */
function complaintsAbout({ code, signal, stdout, stderr }: Ended, { env }: World): string[] {
  const found: string[] = [];
  const text = `${stdout}${stderr}`;
  for (const secret of [env["AWS_SECRET_ACCESS_KEY"] ?? "", "fake-token"]) {
    if (text.includes(secret)) found.push(`the output tells a secret: ${secret}`);
  }
  if (signal !== null || code === 0 || code === outcomes.attention.code) return found;
  const errors = [...stderr.matchAll(/^error ([a-z-]+): /gm)].map(([, name]) => name ?? "");
  const [name = ""] = errors;
  if (errors.length !== 1) found.push(`${errors.length} errors are told: ${stderr}`);
  else if (outcomes[name as keyof typeof outcomes]?.code !== code) found.push(`exit code ${code} with "error ${name}"`);
  if (name !== "internal" && /^\s+at .+:\d+/m.test(stderr)) found.push(`a stack is shown: ${stderr}`);
  return found;
}
