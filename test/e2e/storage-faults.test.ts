/** For each storage, on the real bed: its server is killed in mid-dump and in mid-restore, and its tools are missing. What is
 *  published in spite of it must be whole; what fails must say what it did to the data; and doing it again must help. */
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { bedEnvironment, inPod, kubectl, program, type Ran, resetBed, root, run } from "./bed.ts";
import { freezeServer, killServer, untilReady, without } from "./containers.ts";
import { credentialsOf, fillVault, natives, putLargeObject } from "./natives.ts";
import { SlowS3 } from "./slow-s3.ts";

const namespace = "production-kaa";
const production = ["-n", namespace];
const slowly = 1_000_000;

interface Case {
  readonly storage: string;
  /** Absent for a Deployment's, whose name changes. */
  readonly pod?: string;
  /** Puts in what takes a while: tens of megabytes that hardly compress. */
  fill(): Promise<unknown>;
  /** Where the container has a tool that the driver needs; absent for what is reached over the network alone. */
  readonly tool?: readonly string[];
}

const noise = (megabytes: number) => `head -c ${megabytes * 750_000} /dev/urandom | base64 -w 0`;

const cases: readonly Case[] = [
  {
    storage: "postgresql",
    pod: "kaa-postgresql-0",
    fill: () =>
      inPod(
        namespace,
        "postgresql",
        "psql -qX -d postgres -c 'create table noise as select n, string_agg(md5(random()::text), null) as t from generate_series(1, 1000) n, generate_series(1, 1000) m group by n'",
      ),
    tool: ["/usr/bin/pg_dump", "/usr/lib/postgresql/15/bin/pg_dump"],
  },
  {
    storage: "mariadb",
    pod: "kaa-mariadb-0",
    fill: () =>
      inPod(
        namespace,
        "mariadb",
        `mariadb $at -D kaa -e 'create table noise (t longtext)'; { printf "insert into noise values ('"; ${noise(12)}; printf "')"; } >/tmp/noise.sql
        for n in 1 2 3; do mariadb $at --max-allowed-packet=64M -D kaa </tmp/noise.sql; done; rm /tmp/noise.sql`,
      ),
    tool: ["/usr/bin/mariadb-dump"],
  },
  {
    storage: "mongodb",
    pod: "kaa-mongodb-0",
    fill: async () => {
      const login = "export MONGO_USER=$MONGODB_ROOT_USER MONGO_PASSWORD=$(secret MONGODB_ROOT_PASSWORD);";
      const script = `${login} for n in $(seq 30); do printf '{"insert": "noise", "documents": [{"_id": %s, "t": "%s"}]}\\n' $n "$(${noise(1)})"; done | mongo-command kaa`;
      await inPod(namespace, "mongodb", script);
    },
    tool: ["/usr/local/bin/mongodump"],
  },
  {
    storage: "influxdb",
    pod: "kaa-influxdb-0",
    fill: () =>
      inPod(
        namespace,
        "influxdb",
        `export INFLUX_USERNAME=$INFLUXDB_ADMIN_USER INFLUX_PASSWORD=$INFLUXDB_ADMIN_USER_PASSWORD
        influx -execute 'create database noise'; { echo '# DML'; echo '# CONTEXT-DATABASE: noise'; for n in $(seq 2000); do echo "n s=\\"$(head -c 7500 /dev/urandom | base64 -w 0)\\" 17000000000$(printf %08d $n)"; done; } >/tmp/noise
        influx -import -path /tmp/noise -precision ns >/dev/null; rm /tmp/noise`,
      ),
    tool: ["/usr/bin/influxd"],
  },
  {
    storage: "minio",
    fill: () => putLargeObject(namespace, 1),
  },
  {
    storage: "vault",
    pod: "kaa-vault-0",
    fill: () => fillVault(namespace, 60),
  },
  {
    storage: "opendistro",
    pod: "kaa-opendistro-es-data-0",
    fill: async () => {},
    tool: ["/usr/share/elasticsearch/bin/elasticsearch-keystore"],
  },
];

let door: SlowS3;
let env: Record<string, string>;

beforeAll(async () => {
  await resetBed(namespace);
  for (const native of Object.values(natives)) await native.seed(namespace);
  door = await SlowS3.open();
  const s3 = bedEnvironment()["AWS_ENDPOINT_URL"] ?? "";
  env = { ...(await credentialsOf(namespace)), AWS_ENDPOINT_URL: door.url, OPENDISTRO_S3_ENDPOINT: s3 };
});
afterAll(async () => {
  await door?.close();
  await resetBed(namespace);
});

/** Runs the program; strikes once, when it says that it is `doing` something. */
async function struck(args: readonly string[], doing: RegExp, strike: () => Promise<void>): Promise<Ran> {
  let striking: Promise<void> | undefined;
  let told = "";
  const ran = await program(args, {
    env,
    onStart(child) {
      child.stderr?.on("data", (chunk: Buffer) => {
        told += chunk.toString("utf8");
        if (striking !== undefined || !doing.test(told)) return;
        striking = strike();
        striking.catch(() => {}); // awaited below
      });
    },
  });
  if (striking === undefined) throw new Error(`it never came to ${doing}: ${ran.stderr}`);
  await striking;
  return ran;
}

async function podOf({ storage, pod }: Case): Promise<string> {
  if (pod !== undefined) return pod;
  const args = ["-n", namespace, "get", "pods", "-l", `app.kubernetes.io/name=${storage}`, "-o", "name"];
  return (await kubectl(args)).trim().replace("pod/", "");
}

/** The server is killed while its bytes are on their way: the store takes or gives them slowly meanwhile. */
function killedSlowly(each: Case): () => Promise<void> {
  return async () => {
    const pod = await podOf(each);
    door.bytesPerSecond = slowly;
    await freezeServer(namespace, pod).catch(() => {});
    await pause(1500);
    await killServer(namespace, pod);
    door.bytesPerSecond = Number.POSITIVE_INFINITY;
  };
}

async function again(each: Case): Promise<void> {
  if (each.storage === "vault") {
    const unseal = await run("bash", [`${root}/test/e2e/bed/storages/vault/unseal`, namespace]);
    if (unseal.code !== 0) throw new Error(unseal.stderr);
  }
  await untilReady(namespace, await podOf(each));
  // A pod may be ready before its server is.
  for (let n = 0; ; n++) {
    const { code, stderr } = await program(["storages", ...production, "--storage", each.storage], { env });
    if (code === 0) return;
    expect(n, stderr).toBeLessThan(60);
    await pause(2000);
  }
}

/** What a storage holds, told by its own tools. A crash of PostgreSQL moves its sequences on by up to 32 (they log ahead). */
async function contentsOf(storage: string): Promise<string> {
  return (await natives[storage]!.contents(namespace)).replace(/^SELECT pg_catalog\.setval\(.*$/gm, "");
}

const listed = async () => (await program(["list", ...production, "-o", "name"])).stdout;

describe.each(cases)("$storage", (each) => {
  const { storage, fill, tool } = each;
  const create = ["create", ...production, "--storage", storage, "-o", "name"];
  let before = "";
  let date = "";

  beforeAll(async () => {
    await fill();
    before = await contentsOf(storage);
    const created = await program(create, { env });
    expect(created.code, created.stderr).toBe(0);
    date = created.stdout.trim();
  });
  afterEach(() => again(each)); // also when a test has failed: the next one needs the server

  test("killed in mid-dump (DB-02): what is published, if anything, is whole", async () => {
    const snapshots = await listed();
    const ran = await struck(create, new RegExp(`^${storage}/.*: dumping$`, "m"), killedSlowly(each));
    expect(ran.stderr).toMatch(/attempt 1 failed: /);
    expect(ran.stderr).not.toMatch(/\n\s+at /);
    if (storage === "vault") {
      // It comes back sealed, and unsealing it is not ours to do.
      expect(ran.code, ran.stderr).toBe(8);
      expect(ran.stderr).toMatch(/sealed/);
      expect(await listed()).toBe(snapshots);
    } else {
      expect(ran.code, ran.stderr).toBe(0);
      const verified = await program(["verify", ran.stdout.trim(), ...production], { env });
      expect(verified.code, verified.stderr).toBe(0);
    }
    await again(each);
    expect(await contentsOf(storage)).toBe(before);
  });

  test("killed in mid-restore (DB-16): the error says what is incomplete, and a repeated restore helps", async () => {
    const restore = ["restore", "--date", date, ...production, "--storage", storage, "--yes"];
    const ran = await struck(restore, new RegExp(`^${storage}/.*: restoring$`, "m"), killedSlowly(each));
    expect([8, 9, 10], ran.stderr).toContain(ran.code);
    expect(ran.stderr).toMatch(/^ {2}effect: .*(incomplete|not restored|can be repeated|restored again|not changed)/m);
    expect(ran.stderr).not.toMatch(/\n\s+at /);
    await again(each);
    const repeated = await program(restore, { env });
    expect(repeated.code, repeated.stderr).toBe(0);
    expect(await contentsOf(storage)).toBe(before);
  });

  if (tool === undefined) return;
  test("a missing tool is named before anything is dumped (EX-26)", async () => {
    const snapshots = await listed();
    const ran = await without({ namespace, pod: await podOf(each), paths: tool }, () => program(create, { env }));
    expect(ran.code, ran.stderr).toBe(8);
    expect(ran.stderr).toContain(tool[0]?.split("/").at(-1));
    expect(await listed()).toBe(snapshots);
  });
});
