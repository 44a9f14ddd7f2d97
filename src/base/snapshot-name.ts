/** Names of snapshots: `DD-MM-YYYY-hh-mm-ss`, the UTC start of the run. The specification of Kaa fixes this form. */

/** What a file's name says. */
export interface SnapshotFileName {
  /** Without the ending: "12-02-2021-15-28-37". */
  readonly name: string;
  readonly startedAt: Date;
  /** True for `<name>.partial.tar.gz`: some storages that were asked for are missing. */
  readonly partial: boolean;
}

/** The seconds of a tar entry's time have eleven octal digits, which end here. */
export const lastDate = new Date(8 ** 11 * 1000);

/** The name of a snapshot begun at this time, to the second. */
export function snapshotName(startedAt: Date): string {
  const found = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)/.exec(startedAt.toISOString());
  if (found === null) throw new RangeError(`a year of four digits is needed: ${startedAt.toISOString()}`);
  const [, year, month, day, hour, minute, second] = found;
  return [day, month, year, hour, minute, second].join("-");
}

/** The start of the run, or undefined for text of another form, and for dates that no calendar or no snapshot has. */
export function parseSnapshotName(name: string): Date | undefined {
  const found = /^(\d\d)-(\d\d)-(\d{4})-(\d\d)-(\d\d)-(\d\d)$/.exec(name);
  if (found === null) return undefined;
  const [, day, month, year, hour, minute, second] = found;
  const startedAt = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // Date rolls 31 April over to 1 May, and 24:00:00 to the next day.
  const isDate = !Number.isNaN(startedAt.getTime()) && snapshotName(startedAt) === name;
  return isDate && startedAt < lastDate && startedAt.getTime() >= 0 ? startedAt : undefined;
}

/** The name of the file that holds the snapshot `name`. */
export function snapshotFileName(name: string, { partial }: { readonly partial: boolean }): string {
  return `${name}${partial ? ".partial" : ""}.tar.gz`;
}

/** What a file's name says, or undefined when it is not the name of a snapshot. */
export function parseSnapshotFileName(fileName: string): SnapshotFileName | undefined {
  const found = /^(.*?)(\.partial)?\.tar\.gz$/.exec(fileName);
  if (found === null) return undefined;
  const [, name = "", ending] = found;
  const startedAt = parseSnapshotName(name);
  return startedAt === undefined ? undefined : { name, startedAt, partial: ending !== undefined };
}
