/** Names of snapshots: `DD-MM-YYYY-hh-mm-ss`, the UTC start of the run. The specification fixes this form. */

export interface SnapshotFileName {
  /** Without ending: "12-02-2021-15-28-37". */
  readonly name: string;
  readonly startedAt: Date;
  /** True for `<name>.partial.tar.gz`. */
  readonly partial: boolean;
}

const two = (value: number) => String(value).padStart(2, "0");

export function snapshotName(startedAt: Date): string {
  const year = String(startedAt.getUTCFullYear()).padStart(4, "0");
  const date = [two(startedAt.getUTCDate()), two(startedAt.getUTCMonth() + 1), year];
  const time = [two(startedAt.getUTCHours()), two(startedAt.getUTCMinutes()), two(startedAt.getUTCSeconds())];
  return [...date, ...time].join("-");
}

/** @returns undefined for text of another form, and for dates that no calendar has. */
export function parseSnapshotName(name: string): Date | undefined {
  const found = /^(\d{2})-(\d{2})-(\d{4})-(\d{2})-(\d{2})-(\d{2})$/.exec(name);
  if (found === null) return undefined;
  const [, day, month, year, hour, minute, second] = found;
  const date = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return !Number.isNaN(date.getTime()) && snapshotName(date) === name ? date : undefined;
}

export function snapshotFileName(name: string, { partial }: { readonly partial: boolean }): string {
  return `${name}${partial ? ".partial" : ""}.tar.gz`;
}

export function parseSnapshotFileName(fileName: string): SnapshotFileName | undefined {
  const name = fileName.replace(/(\.partial)?\.tar\.gz$/, "");
  const startedAt = parseSnapshotName(name);
  if (startedAt === undefined || name === fileName) return undefined;
  return { name, startedAt, partial: fileName.endsWith(".partial.tar.gz") };
}
