/** The command names of the tool that this program replaces: {create, restore} × {s3, local} × storages. They follow from
 *  the registry; only what is irregular in them is written here. Source: Kaa's documentation, "Platform backup". */
import { type DriverName, driverNames } from "./registry.ts";

/** What one old command name asks for. */
export interface OldCommand {
  readonly action: "create" | "restore";
  readonly local: boolean;
  /** Undefined: all storages. */
  readonly storage: DriverName | undefined;
}

/** Storages that the old tool called otherwise. */
const otherWords: Readonly<Record<string, string>> = { postgresql: "postgresdb" };

/** Names that break the pattern, by the name that the pattern would give. */
const irregular: Readonly<Record<string, string>> = {
  restore_s3_opendistro_backups: "restore_s3_opendistro_backup",
};

/** Every old command name with its meaning, in the order in which help lists them. A name for a storage that cannot be kept
 *  in a directory exists, too: whoever tries it is told why it cannot work. */
export const oldCommands: ReadonlyMap<string, OldCommand> = new Map(
  (["create", "restore"] as const).flatMap((action) =>
    ["s3", "local"].flatMap((place) =>
      [undefined, ...driverNames].map((storage): [string, OldCommand] => {
        const word = storage === undefined ? "all" : (otherWords[storage] ?? storage);
        const name = `${action}_${place}_${word}_backups`;
        return [irregular[name] ?? name, { action, local: place === "local", storage }];
      }),
    ),
  ),
);
