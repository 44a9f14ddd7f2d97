/** The command lines of Kaa's documentation of the earlier tool, word by word.
 *  Source: https://docs.kaaiot.com/KAA/docs/current/Operations/Platform-backup. */

export const lines = {
  createInS3: `backup backup --release-name-prefix {release-name-prefix} --namespace {k8s-namespace} create_s3_all_backups`,
  createLocally: `backup backup --release-name-prefix {release-name-prefix} --namespace {k8s-namespace} create_local_all_backups`,
  restoreFromS3: `backup backup --release-name-prefix {release-name-prefix} --namespace {k8s-namespace} --backup-date {backup-date} --source-namespace {source-k8s-namespace} restore_s3_all_backups`,
  restoreLocally: `backup backup --release-name-prefix {release-name-prefix} --namespace {k8s-namespace} --backup-date {backup-date} restore_local_all_backups`,
} as const;
/** "Use the below commands instead of …" */
const instead = {
  createInS3: {
    create_s3_mongodb_backups: "mongodb",
    create_s3_mariadb_backups: "mariadb",
    create_s3_postgresdb_backups: "postgresql",
    create_s3_influxdb_backups: "influxdb",
    create_s3_minio_backups: "minio",
    create_s3_vault_backups: "vault",
    create_s3_opendistro_backups: "opendistro",
  },
  createLocally: {
    create_local_mongodb_backups: "mongodb",
    create_local_mariadb_backups: "mariadb",
    create_local_postgresdb_backups: "postgresql",
    create_local_influxdb_backups: "influxdb",
    create_local_minio_backups: "minio",
    create_local_vault_backups: "vault",
  },
  restoreFromS3: {
    restore_s3_mongodb_backups: "mongodb",
    restore_s3_mariadb_backups: "mariadb",
    restore_s3_postgresdb_backups: "postgresql",
    restore_s3_influxdb_backups: "influxdb",
    restore_s3_minio_backups: "minio",
    restore_s3_vault_backups: "vault",
    restore_s3_opendistro_backup: "opendistro",
  },
  restoreLocally: {
    restore_local_mongodb_backups: "mongodb",
    restore_local_mariadb_backups: "mariadb",
    restore_local_postgresdb_backups: "postgresql",
    restore_local_influxdb_backups: "influxdb",
    restore_local_minio_backups: "minio",
    restore_local_vault_backups: "vault",
  },
} as const;
export type Kind = keyof typeof lines;
/** Each command line, what it does, and to which storage; to all when that is undefined. */
export const commandLines = (Object.keys(lines) as Kind[]).flatMap((kind) => {
  const alone = Object.entries(instead[kind]).map(([name, storage]) => [
    lines[kind].replace(/\S+_all_\S+$/, name),
    kind,
    storage as string | undefined,
  ]);
  return [[lines[kind], kind, undefined], ...alone] as [string, Kind, string | undefined][];
});

/** The words of a command line behind its first, with these values put in. */
export function wordsOf(line: string, values: Readonly<Record<string, string>>): readonly string[] {
  const filled = line.replaceAll(/\{([^}]+)\}/g, (_, name: string) => values[name] ?? "?");
  return filled.split(" ").slice(1);
}
