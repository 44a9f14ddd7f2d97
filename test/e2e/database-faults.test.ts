/** What only the engines themselves can show: locks and timeouts, tables without transactions, old tools, replicas, objects
 *  that change, backups that lack something, full disks. */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, readdirSync, statSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import * as s3 from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dumps, inPod, type RunOptions, resetBed } from "./bed.ts";
import { insteadOf, killServer, processOf, untilReady, withSmallDisk } from "./containers.ts";
import { minioClient, natives } from "./natives.ts";
import { create, described, namespace, proved, published, refused, restore, restored, snapshotOf } from "./rounds.ts";
import { SlowS3 } from "./slow-s3.ts";

beforeAll(() => resetBed(namespace));
afterAll(() => resetBed(namespace));

const postgres = (script: string, input?: string) => inPod(namespace, "postgresql", script, input);
const psql = (sql: string, database = "postgres") =>
  postgres(`PGOPTIONS='-c statement_timeout=0' psql -qXAt -v ON_ERROR_STOP=1 -d ${database} -f -`, sql);
const mariadb = (sql: string) => inPod(namespace, "mariadb", "mariadb $at -N -B", sql);

/** The program under a store that takes a megabyte a second, so that the storage has time for what happens to it. */
async function slowly<T>(work: (env: Readonly<Record<string, string>>) => Promise<T>): Promise<T> {
  const door = await SlowS3.open();
  door.bytesPerSecond = 1_000_000;
  try {
    return await work({ AWS_ENDPOINT_URL: door.url });
  } finally {
    await door.close();
  }
}

/** A run that takes longer is interrupted, and ends with another exit code than is expected. */
function endedAfter(seconds: number): RunOptions {
  return { onStart: (child) => void setTimeout(() => child.kill("SIGINT"), seconds * 1000).unref() };
}

/** Does something again and again while `work` is done. */
async function meanwhile<T>(again: (n: number) => Promise<unknown>, work: () => Promise<T>): Promise<T> {
  let isOver = false;
  const repeating = (async () => {
    for (let n = 0; !isOver; n++) await again(n);
  })();
  repeating.catch(() => {}); // awaited below
  try {
    return await work();
  } finally {
    isOver = true;
    await repeating;
  }
}

describe("PostgreSQL", () => {
  beforeAll(async () => {
    await psql("create database locks");
    await psql(
      `create table noise as select n, md5(n::text) || md5((n + 1)::text) as text from generate_series(1, 60000) n;
      create function forbid() returns event_trigger language plpgsql as 'begin raise ''forbidden''; end';
      create table parts (day date, v int) partition by range (day);
      create table parts_rest partition of parts default; insert into parts values ('2024-01-01', 1)`,
      "locks",
    );
  });
  afterAll(() => psql("drop database locks"));

  /** Holds a lock that keeps everybody out of a table, until it is let go. */
  async function locked<T>(table: string, work: (letGo: () => Promise<unknown>) => Promise<T>): Promise<T> {
    const letGo = () =>
      psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'holder'");
    const holding = postgres(
      `PGAPPNAME=holder psql -qX -d locks -c 'begin; lock table only ${table} in access exclusive mode; select pg_sleep(600)'`,
    ).catch(() => "ended");
    try {
      const held = `select count(*) from pg_stat_activity where application_name = 'holder' and query like '%pg_sleep%' and state = 'active' and wait_event = 'PgSleep'`;
      while ((await psql(held)).trim() !== "1") await pause(200);
      return await work(letGo);
    } finally {
      await letGo();
      await holding;
    }
  }

  test("timeouts and rules of the server, the role and the database stop neither dump nor restore (DB-05)", async () => {
    const settings = [
      "statement_timeout = '50ms'",
      "lock_timeout = '50ms'",
      "idle_in_transaction_session_timeout = '50ms'",
      "idle_session_timeout = '50ms'",
    ];
    const everywhere = (set: (setting: string) => string) => settings.map((each) => `${set(each)};`).join("\n");
    const readOnly = "alter database locks set default_transaction_read_only = on";
    try {
      await psql("create event trigger forbid on ddl_command_start execute function forbid()", "locks");
      await psql(
        `${everywhere((each) => `alter database locks set ${each}`)} ${readOnly};
        ${everywhere((each) => `alter role postgres set ${each}`)} ${everywhere((each) => `alter system set ${each}`)} select pg_reload_conf()`,
      );
      const before = await psql("select setdatabase <> 0, setconfig from pg_db_role_setting order by 1, 2");
      expect(before).toContain("statement_timeout=50ms");
      const rows = await psql("select count(*), sum(hashtext(text)) from noise", "locks");
      const date = await slowly((env) => snapshotOf("postgresql", { env }));
      await psql("drop database locks");
      await restored(date, "postgresql");
      expect(await psql("select count(*), sum(hashtext(text)) from noise", "locks")).toBe(rows);
      expect(await psql("select setdatabase <> 0, setconfig from pg_db_role_setting order by 1, 2")).toBe(before);
    } finally {
      await psql(
        "alter system reset all; select pg_reload_conf(); alter role postgres reset all; alter database locks reset all",
      );
      await psql("drop event trigger if exists forbid", "locks");
    }
    expect(await dumps.postgresql(namespace)).not.toContain("50ms");
  });

  test("a lock that is let go is waited for (DB-05)", async () => {
    const before = await dumps.postgresql(namespace);
    const date = await locked("noise", async (letGo) => {
      const running = create("postgresql");
      await pause(8000);
      const waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = 'locks'";
      expect((await psql(waiting)).trim(), "the dump does not wait for the lock").toBe("1");
      await letGo();
      return await proved(await running);
    });
    await psql("drop table noise", "locks");
    await restored(date, "postgresql");
    expect(await dumps.postgresql(namespace)).toBe(before);
  });

  // A row count would wait for the first one, too; the head of a partitioned table has no rows, so only pg_dump locks it.
  test.each(["noise", "parts"])("a lock upon %s that is never let go ends the run (DB-05)", async (table) => {
    // The program waits for minutes; here its limits pass a thousand times faster.
    const faster = (tool: string) => ({
      namespace,
      pod: "kaa-postgresql-0",
      path: `/usr/lib/postgresql/15/bin/${tool}`,
      script: `export PGOPTIONS=$(echo "$PGOPTIONS" | sed 's/ lock_timeout=\\([0-9]*\\)000/ lock_timeout=\\1/')
      for each in "$@"; do shift; case $each in --lock-wait-timeout=*000) each=\${each%000} ;; esac; set -- "$@" "$each"; done
      exec "$0.away" "$@"`,
    });
    await locked(table, () =>
      insteadOf(faster("psql"), () =>
        insteadOf(faster("pg_dump"), () => refused("postgresql", 9, /lock timeout|statement timeout/, endedAfter(120))),
      ),
    );
  });
});

describe("PostgreSQL as another server", () => {
  const pod = "kaa-postgresql-0";

  test("a pg_dump that is older than the server is refused, with both versions (DB-07)", async () => {
    const path = "/usr/lib/postgresql/15/bin/pg_dump";
    const script = `[ "$1" != --version ] || { echo "pg_dump (PostgreSQL) 14.9"; exit; }\nexec "$0.away" "$@"`;
    await insteadOf({ namespace, pod, path, script }, () =>
      refused("postgresql", 8, /pg_dump \(PostgreSQL\) 14\.9 is older than the server, 15\./),
    );
    await snapshotOf("postgresql");
  });

  test("a standby is refused, and dumped once it is the primary (DB-08)", async () => {
    const before = await dumps.postgresql(namespace);
    await postgres("touch /bitnami/postgresql/data/standby.signal");
    try {
      await killServer(namespace, pod);
      await untilReady(namespace, pod);
      expect((await psql("select pg_is_in_recovery()")).trim()).toBe("t");
      await refused("postgresql", 8, /pod "kaa-postgresql-0" is a replica: name the primary/);
    } finally {
      await psql("select pg_promote()");
    }
    const date = await snapshotOf("postgresql");
    await psql("create database later");
    await restored(date, "postgresql");
    expect(await dumps.postgresql(namespace)).toBe(before);
  });
});

describe("MariaDB", () => {
  const pod = "kaa-mariadb-0";
  const timeouts =
    "select @@global.lock_wait_timeout, @@global.wait_timeout, @@global.net_write_timeout, @@global.max_statement_time, @@global.idle_transaction_timeout";

  beforeAll(() =>
    mariadb(
      "create database locks; use locks; create table noise as select seq, repeat(md5(seq), 9) as text from seq_1_to_30000",
    ),
  );
  afterAll(() => mariadb("drop database if exists locks"));

  async function locked<T>(work: (letGo: () => Promise<unknown>) => Promise<T>): Promise<T> {
    const letGo = () =>
      mariadb(
        "set @kill = 'do 0'; select concat('kill ', id) into @kill from information_schema.processlist where info = 'do sleep(600)'; execute immediate @kill",
      );
    const holding = mariadb("lock tables locks.noise write; do sleep(600)").catch(() => "ended");
    try {
      const held = "select count(*) from information_schema.processlist where info = 'do sleep(600)'";
      while ((await mariadb(held)).trim() !== "1") await pause(200);
      return await work(letGo);
    } finally {
      await letGo();
      await holding;
    }
  }

  test("timeouts of the server do not cut the dump off, and are as they were (DB-05)", async () => {
    const before = await dumps.mariadb(namespace);
    const usual = (await mariadb(timeouts)).trim().split("\t");
    const names = [
      "lock_wait_timeout",
      "wait_timeout",
      "net_write_timeout",
      "max_statement_time",
      "idle_transaction_timeout",
    ];
    const set = (values: readonly string[]) =>
      mariadb(names.map((name, index) => `set global ${name} = ${values[index]};`).join(" "));
    try {
      await set(["2", "2", "2", "0.05", "2"]);
      const short = await mariadb(timeouts);
      const date = await slowly((env) => snapshotOf("mariadb", { env }));
      expect(await mariadb(timeouts)).toBe(short);
      await mariadb("drop database locks");
      await restored(date, "mariadb");
    } finally {
      await set(usual);
    }
    expect(await dumps.mariadb(namespace)).toBe(before);
  });

  test("a lock that is let go is waited for (DB-05)", async () => {
    const before = await dumps.mariadb(namespace);
    const date = await locked(async (letGo) => {
      const running = create("mariadb");
      const waiting =
        "select count(*) from information_schema.processlist where state like 'Waiting for table metadata lock'";
      for (let n = 0; (await mariadb(waiting)).trim() !== "1"; n++) {
        expect(n, "the dump does not wait for the lock").toBeLessThan(60);
        await pause(500);
      }
      await letGo();
      return await proved(await running);
    });
    await mariadb("drop table locks.noise");
    await restored(date, "mariadb");
    expect(await dumps.mariadb(namespace)).toBe(before);
  });

  test("a lock that is never let go ends the run (DB-05)", async () => {
    const usual = await mariadb(timeouts);
    // The program waits for minutes; here its limit passes three hundred times faster.
    const script = `case "$*" in *--single-transaction*)
      /usr/bin/mariadb --no-defaults "$2" "$3" -e 'set global lock_wait_timeout = @@global.lock_wait_timeout div 300' ;;
    esac
    exec "$0.away" "$@"`;
    await locked(() =>
      insteadOf({ namespace, pod, path: "/usr/bin/mariadb-dump", script }, () =>
        refused("mariadb", 9, /Lock wait timeout exceeded/, endedAfter(120)),
      ),
    );
    expect(await mariadb(timeouts)).toBe(usual);
  });

  test("a table that is altered again and again: what is published is whole (DB-05)", async () => {
    const changes = ["add column if not exists extra int", "drop column if exists extra"];
    const alter = (n: number) => mariadb(`alter table locks.noise ${changes[n % 2]}`);
    const before = await published();
    const ran = await meanwhile(alter, () => slowly((env) => create("mariadb", { env })));
    if (ran.code === 0) {
      const date = await proved(ran);
      await mariadb("drop table locks.noise");
      await restored(date, "mariadb");
      expect((await mariadb("select count(*), sum(seq) from locks.noise")).trim()).toBe("30000\t450015000");
    } else {
      expect(ran.code, ran.stderr).toBe(9);
      expect(ran.stderr).toMatch(/altered, truncated or recreated/);
      expect(await published()).toEqual(before);
    }
  });

  test("tables without transactions are named in the manifest, and come back (DB-06)", async () => {
    await mariadb(`create database plain; use plain;
      create table isam (a int primary key, t text, fulltext (t)) engine = MyISAM; insert into isam select seq, concat('isam ', seq) from seq_1_to_500;
      create table aria (a int primary key, t text) engine = Aria; insert into aria select seq, repeat('ä', seq) from seq_1_to_300;
      create table innodb (a int) engine = InnoDB; insert into innodb values (1)`);
    try {
      const before = await dumps.mariadb(namespace);
      const date = await snapshotOf("mariadb");
      expect(await described(date)).toContain(
        "not consistent if written to meanwhile, for want of transactions: plain.aria, plain.isam",
      );
      await mariadb("use plain; delete from isam where a > 10; drop table aria");
      await restored(date, "mariadb");
      expect(await dumps.mariadb(namespace)).toBe(before);
      const engines =
        "select group_concat(engine order by 1) from information_schema.tables where table_schema = 'plain'";
      expect((await mariadb(engines)).trim()).toBe("Aria,InnoDB,MyISAM");
    } finally {
      await mariadb("drop database plain");
    }
  });

  test("a mariadb-dump that is older than the server is refused, with both versions (DB-07)", async () => {
    const old = "mariadb-dump from 10.6.5-MariaDB, client 10.19 for debian-linux-gnu (x86_64)";
    const script = `[ "$1" != --version ] || { echo "${old}"; exit; }\nexec "$0.away" "$@"`;
    await insteadOf({ namespace, pod, path: "/usr/bin/mariadb-dump", script }, () =>
      refused("mariadb", 8, /"mariadb-dump from 10\.6\.5-MariaDB.*" is older than the server, 10\.11/),
    );
    await snapshotOf("mariadb");
  });

  test("a replica is dumped with a warning, and nothing is restored into it (DB-08)", async () => {
    await mariadb(
      "change master to master_host = '127.0.0.1', master_port = 9, master_user = 'nobody'; set global read_only = 1",
    );
    try {
      const before = await dumps.mariadb(namespace);
      const date = await snapshotOf("mariadb");
      expect(await described(date)).toContain("a replica or read-only: what it holds may be old");
      const ran = await restore(date, "mariadb");
      expect(ran.code, ran.stderr).toBe(16);
      expect(ran.stderr).toContain("the target is a replica or read-only");
      expect(await dumps.mariadb(namespace)).toBe(before);
    } finally {
      await mariadb("set global read_only = 0; reset slave all");
    }
  });
});

describe("InfluxDB", () => {
  const pod = "kaa-influxdb-0";
  const login = "export INFLUX_USERNAME=$INFLUXDB_ADMIN_USER INFLUX_PASSWORD=$INFLUXDB_ADMIN_USER_PASSWORD;";
  const influx = (script: string) => inPod(namespace, "influxdb", `${login} ${script}`);
  const rest = () =>
    inPod(namespace, "influxdb", "ls -d /tmp/kaa-backup* /bitnami/influxdb/kaa-backup* 2>/dev/null || true");
  const contents = () => influx("influx -execute 'select count(s), sum(v) from noise..n' -precision ns");

  beforeAll(() =>
    influx(`influx -execute 'create database noise'
      { echo '# DML'; echo '# CONTEXT-DATABASE: noise'; for n in $(seq 400); do echo "n s=\\"$(head -c 7500 /dev/urandom | base64 -w 0)\\",v=$n 1$((n % 4))000000000$(printf %08d $n)"; done; } >/tmp/noise
      influx -import -path /tmp/noise -precision ns >/dev/null; rm /tmp/noise`),
  );

  const shard = "shard=$(ls *.tar.gz | tail -n 1)";
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["a shard's file is gone", `${shard}; rm "$shard"`, /the backup lacks shard \d+/],
    ["a shard's file is cut", `${shard}; head -c 2000 "$shard" >cut; mv cut "$shard"`, /unexpected end of file/],
    ["the manifest is gone", "rm *.manifest", /the backup has no manifest/],
    [
      "the manifest is cut",
      `for each in *.manifest; do head -c 200 "$each" >cut; mv cut "$each"; done`,
      /damaged or not whole/,
    ],
  ];
  test.each(cases)("a backup whose tool says success is refused when %s (DB-12)", async (_, damage, says) => {
    const before = await contents();
    const script = `"$0.away" "$@" || exit
      [ "$1" = backup ] || exit 0
      for folder; do :; done
      cd "$folder" || exit
      ${damage}
      exit 0`;
    await insteadOf({ namespace, pod, path: "/usr/bin/influxd", script }, () => refused("influxdb", 9, says));
    expect(await rest()).toBe("");
    expect(await contents()).toBe(before);
  });

  test("a shard that the server cannot open, and influxd passes over, is missed (DB-12)", async () => {
    const before = await contents();
    const pid = await processOf(namespace, pod);
    const shards = `/proc/${pid}/root/bitnami/influxdb/data/noise/autogen`;
    const [id = ""] = readdirSync(shards);
    const again = async () => {
      await killServer(namespace, pod);
      await untilReady(namespace, pod);
    };
    const shardMode = (mode: string) =>
      inPod(namespace, "influxdb", `chmod ${mode} /bitnami/influxdb/data/noise/autogen/${id}`);
    await shardMode("000");
    try {
      await again();
      expect(await contents()).not.toBe(before);
      await refused("influxdb", 9, new RegExp(`the backup lacks shard ${id}\\b`));
    } finally {
      await shardMode("755");
      await again();
    }
    expect(await contents()).toBe(before);
    await snapshotOf("influxdb");
  });

  test("no room in the pod for what its tool writes: nothing is published, nothing is left there (DB-13)", async () => {
    const folder = `/proc/${await processOf(namespace, pod)}/root/bitnami/influxdb`;
    const { mode } = statSync(folder);
    chmodSync(folder, 0o550); // the server writes below it
    try {
      await withSmallDisk({ namespace, pod, folder: "/tmp", sizeBytes: 256 * 1024 }, async () => {
        await refused("influxdb", 9, /no space left on device/, endedAfter(120));
        expect(await rest()).toBe("");
      });
    } finally {
      chmodSync(folder, mode);
    }
    const before = await contents();
    const date = await snapshotOf("influxdb");
    await influx("influx -execute 'drop database noise'");
    await restored(date, "influxdb");
    expect(await contents()).toBe(before);
    expect(await rest()).toBe("");
  });
});

/** Does something while a storage's /tmp has no byte left. */
function withFullDisk<T>(storage: string, work: () => Promise<T>): Promise<T> {
  return withSmallDisk({ namespace, pod: `kaa-${storage}-0`, folder: "/tmp", sizeBytes: 4096 }, async () => {
    await inPod(
      namespace,
      storage,
      "head -c 4096 /dev/zero >/tmp/full; ! echo more 2>/dev/null >/tmp/more; rm /tmp/more",
    );
    const ended = await work();
    expect(await inPod(namespace, storage, "ls -A /tmp")).toBe("full\n");
    return ended;
  });
}

test.each(["postgresql", "mongodb"])(
  "%s needs no room in its pod, neither for a dump nor for a restore (DB-13)",
  async (storage) => {
    const { seed, contents, damage } = natives[storage]!;
    await seed(namespace);
    const before = await contents(namespace);
    await withFullDisk(storage, async () => {
      const date = await snapshotOf(storage);
      await damage(namespace);
      await restored(date, storage);
    });
    expect(await contents(namespace)).toBe(before);
  },
);

test("MariaDB, whose own temporary tables find no room, says so, and nothing is published (DB-13)", async () => {
  const before = await dumps.mariadb(namespace);
  await withFullDisk("mariadb", () => refused("mariadb", 9, /No space left on device/));
  await snapshotOf("mariadb");
  expect(await dumps.mariadb(namespace)).toBe(before);
});

describe("MinIO", () => {
  const small = 40_000;
  const large = 3_000_000;

  test.each(["Suspended", "Enabled"] as const)(
    "objects that are replaced and deleted while they are copied come back whole, versioning %s (DB-11)",
    async (Status) => {
      const client = await minioClient(namespace);
      const Bucket = `changing-${Status.toLowerCase()}`;
      const keys = (kind: string, count: number) => Array.from({ length: count }, (_, n) => `${kind}/${n}`);
      const changing = [...keys("small", 120), ...keys("large", 4)];
      const kept = keys("kept", 20);
      const hashes = new Map<string, Set<string>>();
      const versions: { Key: string; VersionId: string | undefined }[] = [];
      const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
      const put = async (Key: string) => {
        const Body = randomBytes(Key.startsWith("large") ? large : small);
        hashes.set(Key, (hashes.get(Key) ?? new Set()).add(hashOf(Body)));
        const { VersionId } = await client.send(new s3.PutObjectCommand({ Bucket, Key, Body }));
        if (!Key.startsWith("kept")) versions.push({ Key, VersionId });
      };
      let changes = 0;
      const change = async (n: number) => {
        changes = n;
        // An odd factor: every key has its turn, in an order of its own.
        const Key = changing[(n * 37) % changing.length] ?? "";
        if (n % 3 !== 0) await put(Key);
        else if (Status === "Suspended") await client.send(new s3.DeleteObjectCommand({ Bucket, Key }));
        else
          for (const gone of versions.splice((n * 53) % versions.length, 1))
            await client.send(new s3.DeleteObjectCommand({ Bucket, ...gone }));
      };

      await client.send(new s3.CreateBucketCommand({ Bucket }));
      if (Status === "Enabled")
        await client.send(new s3.PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }));
      for (const Key of [...kept, ...changing]) await put(Key);
      const date = await meanwhile(change, () => slowly((env) => snapshotOf("minio", { env })));
      expect(changes).toBeGreaterThan(50);
      await restored(date, "minio");

      const back = (await client.send(new s3.ListObjectVersionsCommand({ Bucket }))).Versions ?? [];
      for (const { Key = "", VersionId } of back) {
        const { Body } = await client.send(
          new s3.GetObjectCommand({ Bucket, Key, ...(Status === "Enabled" && { VersionId }) }),
        );
        expect(hashes.get(Key), `${Key} is none of what was written there`).toContain(
          hashOf(await Body!.transformToByteArray()),
        );
      }
      expect(back.filter(({ Key }) => Key?.startsWith("kept"))).toHaveLength(kept.length);
      expect(back.length).toBeGreaterThan(kept.length + changing.length / 3);
    },
  );
});
