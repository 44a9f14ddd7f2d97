/** Golden scripts: a text of command lines with what each prints, how it ends, and what is true afterwards. The grammar,
 *  line by line (a line that begins with # is a comment):
 *
 *    given …             changes the world before the next command: see `givens`
 *    mask NAME /REGEX/   from here on, what matches is written <NAME>; for what differs from run to run
 *    $ kubectl kaa-backup …   runs it; NAME=VALUE in front of it sets a variable, quotes work as in a shell
 *    0> text             its standard input, behind the command line
 *    1> text             what it prints, line by line; `1>` alone is an empty line
 *    2> text             what it says on standard error
 *    exit N              its exit code
 *    then …              what must be true afterwards: see `thens`
 *
 *  `1>`, `2>` and `exit` are written anew by `npm run golden`; the rest is written by people. `$DIR` and the other names of
 *  World.names stand for themselves in commands, output and checks. */
import { existsSync } from "node:fs";
import type { World } from "./world.ts";

/** What differs in every run, wherever it stands. */
const masks: readonly (readonly [name: string, pattern: RegExp])[] = [
  ["run-id", /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g],
  ["age", /\b\d{1,6}[smhd]$/gm],
  ["now", /\b20(2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g],
  ["now", /\b\d\d-\d\d-20(2[6-9]|[3-9]\d)(-\d\d){3}/g],
  ["size", /(?<=<now>(\.partial)?\.tar\.gz \()[\d.]+ [KMG]?i?B(?=\))/g],
  // The table at the end of a run: its columns are as wide as what was measured.
  ["measured", / +BYTES +DURATION +RATE(?: +|$)/gm],
  ["measured", /(?<= (?:done|failed|stopped)) +[\d.]+ [KMG]?i?B +\d+ s +(?:[\d.]+ [KMG]?i?B\/s|-)(?: +|$)/gm],
  ["size and time", /(?<=\()[\d.]+ [KMG]?i?B in \d+ s(?=\))/g],
];

type Given = (world: World, words: readonly string[]) => void | Promise<void>;

/** The first word of a line, and what it does. */
const givens: Readonly<Record<string, Given>> = {
  /** given snapshot DATE in $DIR|BUCKET [double|partial|damaged|cut] */
  snapshot: async (world, [date = "", , where = "", kind = "whole"]) =>
    await world.plant(date, where, kind as Parameters<World["plant"]>[2]),
  /** given file $TMP/NAME 'TEXT': \n in it is the end of a line */
  file: (world, [path = "", ...text]) => world.write(path, `${text.join(" ").replaceAll("\\n", "\n")}\n`),
  /** given environment NAME=VALUE, or NAME alone to take it away */
  environment: (world, [setting = ""]) => {
    const [name = "", value] = setting.split(/=(.*)/s);
    if (value === undefined) delete world.environment[name];
    else world.environment[name] = value;
  },
  /** given process: from here on the program runs in one of its own */
  process: (world) => {
    world.inProcessOfItsOwn = true;
  },
  /** given lock HOLDER: somebody else's */
  lock: (world, words) => world.lockBy(words.join(" ")),
  /** given dumps break, given logins fail, given database empty */
  dumps: (world) => world.misbehave("dump", "echo '-- cut'; exit 2"),
  logins: (world) =>
    world.misbehave("sql", `echo "ERROR 1045 (28000): Access denied for user 'root'@'localhost'" >&2; exit 1`),
  database: (world) => world.emptyDatabase(),
  /** given password TEXT: the database takes no other */
  password: (world, words) =>
    world.misbehave(
      "sql",
      `[ "$MYSQL_PWD" = '${words.join(" ")}' ] || { echo "ERROR 1045 (28000): Access denied for user 'root'@'localhost'" >&2; exit 1; }`,
    ),
  /** given exec refused STATUS MESSAGE */
  exec: (world, [, status = "403", ...message]) => {
    const body = JSON.stringify({ kind: "Status", message: message.join(" ") });
    world.cluster.execFault = () => ({ kind: "refuse", status: Number(status), body });
  },
  /** given S3 refuses STATUS CODE [OPERATION]; given S3 clock MINUTES: ahead of ours by so many */
  S3: (world, [what, ...words]) => {
    if (what === "refuses") world.refuseS3(Number(words[0]), words[1] ?? "AccessDenied", words[2]);
    else if (what === "clock") world.s3Clock(Number(words[0]));
    else throw new Error(`nobody knows what S3 ${what} is`);
  },
  /** given terminal: from here on there is one to ask, and what is typed stands behind 0> */
  terminal: (world) => {
    world.isInteractive = true;
  },
  /** given schedule paused CRON */
  schedule: (world, [, ...cron]) => world.pausedSchedule(cron.join(" ")),
  /** given right denied VERB RESOURCE: a review of rights says no */
  right: (world, [, ...right]) => void world.cluster.deniedRights.add(right.join(" ")),
};

/** The first word of a line that names no place, and what is wrong if it is not true. */
const thens: Readonly<Record<string, (world: World, words: readonly string[], step: Step) => string | undefined>> = {
  /** then no upload is open, then no request was made, then no process is left */
  no(world, [what], { requests }) {
    if (what === "upload") return sameList([], world.openUploads);
    if (what === "request") return sameList([], requests);
    if (what === "process") return world.cluster.children.size === 0 ? undefined : "a process is left in the pod";
    return `nobody knows what "no ${what}" is`;
  },
  /** then S3 was asked OPERATION …; then cluster was asked PATH … */
  S3: (_world, [, , ...operations], { requests }) => sameList(operations, requests.filter(isOperation)),
  cluster: (_world, [, , ...paths], { requests }) =>
    sameList(
      paths,
      requests.filter((each) => !isOperation(each)),
    ),
  /** then lock is free, then lock is HOLDER */
  lock(world, [, ...holder]) {
    const wanted = holder.join(" ") === "free" ? undefined : holder.join(" ");
    return world.lockHolder === wanted ? undefined : `the lock is ${world.lockHolder ?? "free"}`;
  },
  /** then database is whole, then database is empty */
  database: (world, [, state]) =>
    world.databaseIsWhole === (state === "whole") ? undefined : `whole: ${world.databaseIsWhole}`,
  /** then file PATH exists, then file PATH is absent */
  file: (_world, [path = "", ...state]) =>
    existsSync(path) === (state.join(" ") === "exists") ? undefined : `${path}: ${existsSync(path)}`,
};

/** then $DIR|BUCKET holds NAME … | nothing; then $DIR|BUCKET is absent */
function checkPlace(world: World, [where = "", verb, ...names]: readonly string[]): string | undefined {
  const found = world.filesIn(where);
  if (verb === "is") return found === undefined ? undefined : `it holds ${found.join(" ") || "nothing"}`;
  if (found === undefined) return "it is absent";
  return sameList(
    names[0] === "nothing" ? [] : names,
    found.map((name) => mask(name, world, [])),
  );
}

/** What a command did besides printing. */
interface Step {
  /** Operations of S3, and paths of the API server with their method, in the order of each. */
  readonly requests: readonly string[];
}

function isOperation(request: string): boolean {
  return /^[A-Z][A-Za-z0-9]+$/.test(request);
}

function sameList(wanted: readonly string[], found: readonly string[]): string | undefined {
  return wanted.join("\n") === found.join("\n") ? undefined : `found ${found.join(" ") || "nothing"}`;
}

/** Runs a script in a fresh world.
 *  @returns the script as it would have to be written, and what of its `then` lines is not true. */
export async function runScript(
  text: string,
  world: World,
): Promise<{ readonly written: string; readonly untrue: readonly string[] }> {
  const written: string[] = [];
  const untrue: string[] = [];
  const ownMasks: [string, RegExp][] = [];
  const lines = text.split("\n");
  let step: Step = { requests: [] };
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    if (/^(1>|2>|exit )/.test(line)) continue; // written anew
    written.push(line);
    const [first = "", ...rest] = wordsOf(line, world);
    if (line.startsWith("#") || line === "" || first === "0>") continue;
    if (first === "mask") ownMasks.push(maskOf(line));
    else if (first === "given") {
      const given = givens[rest[0] ?? ""];
      if (given === undefined) throw new Error(`line ${at + 1}: nobody knows how to: ${line}`);
      await given(world, rest.slice(1));
    } else if (first === "$") {
      const input: string[] = [];
      for (let next = at + 1; lines[next]?.startsWith("0> "); next++) input.push(`${lines[next]?.slice(3)}\n`);
      for (const each of input) written.push(`0> ${each.trimEnd()}`);
      at += input.length;
      const [result, requests] = await runCommand(rest, input.join(""), world);
      step = { requests };
      const show = (channel: number, output: string) => {
        const masked = mask(output, world, ownMasks);
        if (masked === "") return;
        const ended = masked.endsWith("\n") ? masked.slice(0, -1) : `${masked}<no line end>`;
        written.push(...ended.split("\n").map((each) => `${channel}> ${each}`.trimEnd()));
      };
      show(1, result.stdout);
      show(2, result.stderr);
      written.push(`exit ${result.code}`);
    } else if (first === "then") {
      const [subject = ""] = rest;
      const check = thens[subject];
      const wrong = check === undefined ? checkPlace(world, rest) : check(world, rest.slice(1), step);
      if (wrong !== undefined) untrue.push(`line ${at + 1}: ${line}: ${wrong}`);
    } else throw new Error(`line ${at + 1}: what is "${line}"?`);
  }
  return { written: written.join("\n"), untrue };
}

async function runCommand(words: readonly string[], stdin: string, world: World) {
  const before = { ...world.environment };
  let from = 0;
  for (; /^[A-Z_a-z]+=/.test(words[from] ?? ""); from++) {
    const [name = "", value = ""] = (words[from] ?? "").split(/=(.*)/s);
    world.environment[name] = value;
  }
  const [program, ...rest] = words.slice(from);
  const argv = program === "kubectl" ? rest.slice(1) : rest;
  const name = program === "kubectl" ? "kubectl kaa-backup" : "backup";
  const [s3From, clusterFrom] = [world.s3.log.length, world.cluster.requests.length];
  try {
    const result = await world.run(argv, { name, stdin });
    const requests = [
      ...world.s3.operations.slice(s3From),
      ...world.cluster.requests.slice(clusterFrom).map(({ method, url }) => `${method} ${url}`),
    ];
    return [result, requests] as const;
  } finally {
    for (const key of Object.keys(world.environment)) delete world.environment[key];
    Object.assign(world.environment, before);
  }
}

/** As a shell would split it: quotes, and the world's names for their values. */
function wordsOf(line: string, world?: World): string[] {
  const words: string[] = [];
  for (const [word] of line.matchAll(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g)) {
    const parts = [...word.matchAll(/'([^']*)'|"([^"]*)"|([^'"]+)/g)];
    const bare = parts.map(([, single, double, plain]) => single ?? double ?? plain ?? "").join("");
    words.push((world?.names ?? []).reduce((text, [name, value]) => text.replaceAll(name, value), bare));
  }
  return words;
}

function maskOf(line: string): [string, RegExp] {
  const found = /^mask (\S+) \/(.*)\/$/.exec(line);
  if (found === null) throw new Error(`mask NAME /REGEX/, not: ${line}`);
  return [found[1] ?? "", new RegExp(found[2] ?? "", "gm")];
}

function mask(output: string, world: World, own: readonly (readonly [string, RegExp])[]): string {
  const named = world.names.reduce((text, [name, value]) => text.replaceAll(value, name), output);
  return [...own, ...masks].reduce((text, [name, pattern]) => text.replaceAll(pattern, `<${name}>`), named);
}
