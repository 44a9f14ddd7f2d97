/** The bed, from tests and the demo: its environment, kubectl, the built program, and each storage's own tools. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const bedScript = `${root}/test/e2e/bed/bed`;

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `bed env` exports. Throws when the bed is not up: a missing bed is a failure, not a skip. */
export function bedEnvironment(): Record<string, string> {
  const ran = spawnSync(
    "bash",
    ["-c", `eval "$(bash "${bedScript}" env)" && kubectl get --raw /readyz >/dev/null && env -0`],
    {
      encoding: "utf8",
    },
  );
  if (ran.status !== 0) throw new Error(`the bed is not up; "npm run bed -- up" starts it\n${ran.stderr}`);
  const pairs = ran.stdout.split("\0").filter((each) => each.includes("="));
  return Object.fromEntries(pairs.map((each) => [each.slice(0, each.indexOf("=")), each.slice(each.indexOf("=") + 1)]));
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string;
  readonly cwd?: string;
  /** Called once the process runs. */
  readonly onStart?: (child: ReturnType<typeof spawn>) => void;
}

export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const env = { ...environment(), ...options.env };
    const child = spawn(file, [...args], {
      env,
      stdio: "pipe",
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", reject);
    child.on("close", (code) => {
      resolve({ code, stdout: Buffer.concat(out).toString("utf8"), stderr: Buffer.concat(err).toString("utf8") });
    });
    child.stdin.on("error", () => {}); // the process may not read it all
    child.stdin.end(options.input ?? "");
    options.onStart?.(child);
  });
}

let known: Record<string, string> | undefined;
function environment(): Record<string, string> {
  known ??= bedEnvironment();
  return known;
}

/** The built program. */
export function program(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return run(`${root}/dist/kubectl-kaa_backup`, args, options);
}

/** Makes the storages of a namespace, or of both, new and empty; throws when it fails. */
export async function resetBed(namespace?: string): Promise<void> {
  const ran = await run("bash", [bedScript, "reset", ...(namespace === undefined ? [] : [namespace])]);
  if (ran.code !== 0) throw new Error(ran.stderr);
}

/** kubectl; throws when it fails. */
export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  const ran = await run("kubectl", args, input === undefined ? {} : { input });
  if (ran.code !== 0) throw new Error(`kubectl ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

/** Runs a script with bash in a storage's pod; throws when it fails. */
export async function inPod(namespace: string, storage: string, script: string, input?: string): Promise<string> {
  const logins = {
    postgresql:
      "export PGUSER=postgres PGPASSWORD=${POSTGRES_POSTGRES_PASSWORD:-$(cat $POSTGRES_POSTGRES_PASSWORD_FILE 2>/dev/null)}; ",
    mariadb:
      "export MYSQL_PWD=${MARIADB_ROOT_PASSWORD:-$(cat $MARIADB_ROOT_PASSWORD_FILE 2>/dev/null)}; at='--no-defaults -S /run/mysqld/mysqld.sock -uroot --default-character-set=utf8mb4'; ",
  } as const;
  const login = logins[storage as keyof typeof logins] ?? "";
  // Without -i when there is nothing to send: what kubectl sends to a server that has just closed the connection makes the
  // kernel throw away what kubectl has not read yet (kubernetes#124571; seen on a busy machine).
  const stdin = input === undefined ? [] : ["-i"];
  return await kubectl(
    ["-n", namespace, "exec", ...stdin, `kaa-${storage}-0`, "--", "bash", "-c", `set -e; ${login}${script}`],
    input,
  );
}

/** Puts awkward data into a namespace's storages. */
export async function seed(namespace: string): Promise<void> {
  const sql = (name: string) => readFileSync(`${root}/test/e2e/seeds/${name}.sql`, "utf8");
  await inPod(namespace, "postgresql", "psql -qX -f -", sql("postgresql"));
  await inPod(namespace, "mariadb", "mariadb $at", sql("mariadb"));
}

/** Everything that a storage holds, told by its own dump tool and not by us. Lines that differ by nature are left out. */
export const dumps = {
  async postgresql(namespace: string): Promise<string> {
    const text = await inPod(namespace, "postgresql", "pg_dumpall");
    return text
      .split("\n")
      .filter((line) => !/^\\(un)?restrict /.test(line))
      .join("\n");
  },
  async mariadb(namespace: string): Promise<string> {
    const databases =
      "mariadb $at -N -B -r -e \"select schema_name from information_schema.schemata where schema_name not in ('mysql','sys','information_schema','performance_schema') order by 1\"";
    const script = `mapfile -t d < <(${databases}); mariadb-dump $at --skip-dump-date --routines --events --hex-blob --order-by-primary --databases -- "\${d[@]}";
      mariadb-dump $at --skip-dump-date --system=users | LC_ALL=C sort; mariadb $at -N -B -e "select host, user, priv from mysql.global_priv order by 1, 2; select * from mysql.roles_mapping order by 1, 2, 3"`;
    return await inPod(namespace, "mariadb", script);
  },
} as const;

/** Does things to a namespace that only a restore undoes: data lost, changed and added, users too. */
export async function damage(namespace: string): Promise<void> {
  await inPod(
    namespace,
    "postgresql",
    `psql -qX -v ON_ERROR_STOP=1 -d postgres -c 'drop database "postgres://x=y"' -c 'create database later' -c 'create role later login superuser' \\
      -c 'drop database "--leading $(dash)"' -c 'alter role readers createdb' -c 'create table also_later (a int)'
    psql -qX -v ON_ERROR_STOP=1 -d appdb -c 'delete from app.things where id > 10' -c 'create table app.later (a int)' -c 'drop extension hstore cascade' -c 'alter role readers set work_mem = 100'
    psql -qX -v ON_ERROR_STOP=1 -d template1 -c 'drop table site_defaults' -c 'create table later (a int)'`,
  );
  await inPod(
    namespace,
    "mariadb",
    `mariadb $at -e "drop database appdb; create database later; create table later.t (a int); create user later@localhost identified by 'z'; drop role readers; drop user locked@localhost"`,
  );
}

/** The password that the namespace's Secret holds. */
export async function secret(namespace: string, name: string, key: string): Promise<string> {
  const encoded = await kubectl(["-n", namespace, "get", "secret", name, "-o", `jsonpath={.data.${key}}`]);
  return Buffer.from(encoded, "base64").toString("utf8");
}

/** Logs in with the passwords of the namespace's Secrets, as services do. */
export async function logIn(namespace: string): Promise<void> {
  const login = async (storage: string, key: string, script: string) => {
    const password = await secret(namespace, `kaa-${storage}`, key);
    const args = ["-n", namespace, "exec", "-i", `kaa-${storage}-0`, "--", "bash", "-c", `read -r p; ${script}`];
    await kubectl(args, `${password}\n`);
  };
  await login(
    "postgresql",
    "postgres-password",
    "PGPASSWORD=$p psql -h 127.0.0.1 -U postgres -d postgres -c 'select 1'",
  );
  await login("postgresql", "password", "PGPASSWORD=$p psql -h 127.0.0.1 -U kaa -d kaa -c 'select 1'");
  await login(
    "mariadb",
    "mariadb-root-password",
    "MYSQL_PWD=$p mariadb --no-defaults -h 127.0.0.1 -u root -e 'select 1'",
  );
  await login(
    "mariadb",
    "mariadb-password",
    "MYSQL_PWD=$p mariadb --no-defaults -h 127.0.0.1 -u kaa kaa -e 'select 1'",
  );
}

/** How often each pod was restarted, and since when it is Ready. */
export async function health(namespace: string): Promise<string> {
  const path =
    '{range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastTransitionTime}{"\\n"}{end}';
  return await kubectl(["-n", namespace, "get", "pods", "-o", `jsonpath=${path}`]);
}
