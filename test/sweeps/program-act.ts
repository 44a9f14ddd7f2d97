/** The program as its users run it, in a world where one thing goes wrong, and what must hold afterwards. */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { outcomes } from "../../src/base/errors.ts";
import type { Cut } from "../fakes/api-answer.ts";
import type { RequestFault } from "../fakes/api-server.ts";
import { MariadbPod } from "../fakes/mariadb-pod.ts";
import type { FaultAction } from "../fakes/s3-server.ts";
import { type Ended, type Running, start } from "../faults/program.ts";
import { stateOf, violations } from "../faults/violations.ts";
import { bucket, filesIn, lock, type Place, type World } from "../faults/world.ts";
import type { MadeFile } from "../snapshot/make.ts";
import type { Command } from "./scene.ts";

/** What goes wrong, and when: the n-th request or command from 1, or the n-th event of a run. */
export type ProgramFault =
  | { readonly at: "none" }
  | {
      readonly at: "s3";
      readonly nth: number;
      readonly way: string;
      readonly action: FaultAction;
      readonly times: number;
    }
  | { readonly at: "api"; readonly nth: number; readonly way: string; readonly fault: RequestFault }
  | { readonly at: "exec"; readonly nth: number; readonly part: number; readonly how: Cut["how"] }
  | { readonly at: "process"; readonly nth: number; readonly signal: NodeJS.Signals };

/** What a run without a fault has asked for. */
export interface Asked {
  readonly s3: readonly string[];
  readonly api: readonly string[];
  /** Bytes that each command has sent. */
  readonly exec: readonly number[];
  readonly events: number;
}

export interface Given {
  readonly command: Command;
  readonly place: Place;
  readonly fault: ProgramFault;
  /** Of a run of this command without a fault. */
  readonly asked?: Asked;
}

/** Longest time that a run told to stop may take. */
const stopMs = 20_000;

export class ProgramAct {
  readonly #world: World;
  readonly #earlier: readonly MadeFile[];
  readonly #source: string;
  #running: Running | undefined;
  #signalledAtMs = 0;

  /** @param earlier snapshots of a MariaDB that held `source`; the last is the newest. */
  constructor(world: World, earlier: readonly MadeFile[], source: string) {
    this.#world = world;
    this.#earlier = earlier;
    this.#source = source;
  }

  async play(given: Given): Promise<{ readonly asked: Asked; readonly complaint: string | undefined }> {
    const { command, place, fault } = given;
    const world = this.#world;
    this.#reset(given);
    const before = stateOf(world);
    const heard = this.#arm(given);
    this.#running = start(this.#argv(command, place), { env: world.env });
    const ended = await this.#running.ended;
    const stoppedMs = performance.now() - this.#signalledAtMs;
    const asked = { ...heard(), events: world.events };
    this.#disarm();
    const isKilled = fault.at === "process" && fault.signal === "SIGKILL";
    const found = await violations(world, before, { killed: isKilled, ...(isKilled ? {} : { ended }) });
    const complaints = [
      ...found.filter((each) => !this.#isMeant(each, command) && !this.#isTold(each, ended)),
      ...this.#complaintsAbout(given, ended),
      ...(isStopped(fault) && stoppedMs > stopMs ? [`it took ${Math.round(stoppedMs)} ms to stop`] : []),
      ...(isKilled && command === "create" ? await this.#nextRun(place) : []),
    ];
    return { asked, complaint: complaints.length === 0 ? undefined : `${complaints.join("; ")}\n${ended.stderr}` };
  }

  #argv(command: Command, place: Place): readonly string[] {
    const newest = this.#earlier.at(-1)?.manifest.name ?? "";
    const flags = this.#world.flags(place);
    const argv: Readonly<Record<Command, readonly string[]>> = {
      create: ["create", "--storage", "mariadb", "--strict", ...flags],
      verify: ["verify", newest, ...flags],
      restore: ["restore", "--date", newest, "--storage", "mariadb", "--source-namespace", "kaa", "--yes", ...flags],
      prune: ["prune", "--keep-last", "1", "--yes", "-n", "kaa", ...flags],
    };
    return argv[command];
  }

  #reset({ command, place }: Given): void {
    const { s3, server, directory, database } = this.#world;
    this.#disarm();
    s3.buckets.all.clear();
    s3.bucket(bucket);
    s3.log.length = 0;
    server.requests.length = 0;
    server.leases.clear();
    for (const name of readdirSync(directory)) rmSync(join(directory, name));
    for (const { fileName, bytes } of this.#earlier) {
      if (place === "s3") s3.bucket(bucket).plant(fileName, bytes);
      else writeFileSync(join(directory, fileName), bytes);
    }
    const fresh = new MariadbPod(command === "restore" ? "something else" : this.#source);
    database.accounts = fresh.accounts;
    database.databases = fresh.databases;
  }

  /** @returns what has been asked for so far. */
  #arm({ fault, asked }: Given): () => Omit<Asked, "events"> {
    const { s3, server } = this.#world;
    const exec: { bytes: number }[] = [];
    let requests = 0;
    server.requestFault = () => {
      requests += 1;
      return fault.at === "api" && requests === fault.nth ? fault.fault : undefined;
    };
    server.execCut = () => {
      const command = { bytes: 0 };
      exec.push(command);
      if (fault.at === "exec" && exec.length === fault.nth) {
        const bytes = asked?.exec[fault.nth - 1] ?? 0;
        return { how: fault.how, afterBytes: Math.floor(fault.part * bytes) };
      }
      const onSent = (bytes: number) => {
        command.bytes += bytes;
      };
      return { how: "fin", afterBytes: Number.POSITIVE_INFINITY, onSent };
    };
    if (fault.at === "s3") s3.fault({ nth: fault.nth, times: fault.times, action: fault.action });
    const strike = () => {
      if (fault.at !== "process") return;
      this.#signalledAtMs = performance.now();
      this.#running?.child.kill(fault.signal);
    };
    this.#world.countTo(fault.at === "process" ? fault.nth : 0, strike);
    return () => ({
      s3: [...s3.operations],
      api: server.requests.filter(({ method }) => method !== "UPGRADE").map(({ method, url }) => `${method} ${url}`),
      exec: exec.map(({ bytes }) => bytes),
    });
  }

  #disarm(): void {
    const { s3, server } = this.#world;
    s3.clearFaults();
    server.requestFault = () => undefined;
    server.execCut = () => undefined;
    this.#world.countTo(0, () => {});
  }

  /** What a command is for is no violation. */
  #isMeant(complaint: string, command: Command): boolean {
    const doomed = this.#earlier.slice(0, -1).map(({ fileName }) => fileName);
    if (command === "prune") return doomed.some((name) => complaint.endsWith(`"${name}" is lost or changed`));
    return command === "restore" && complaint === "the source was changed";
  }

  /** Who may not end an upload tells how to. */
  #isTold(complaint: string, { stderr }: Ended): boolean {
    if (!complaint.startsWith("s3: uploads are open")) return false;
    const open = [...this.#world.s3.bucket(bucket).uploads.keys()];
    return open.every((id) => stderr.includes(`--upload-id ${id}`));
  }

  #complaintsAbout({ command, place, fault }: Given, ended: Ended): string[] {
    const found: string[] = [];
    const files = filesIn(this.#world, place);
    const isOk = ended.code === outcomes.ok.code;
    const news = [...files.keys()].filter((name) => !this.#earlier.some(({ fileName }) => fileName === name));
    if (isOk && command === "create" && news.length !== 1) found.push("nothing was published");
    if (isOk && command === "prune" && files.size !== 1) found.push("not everything was pruned");
    if (command !== "create" && news.length > 0) found.push(`${command} has left ${news.join(", ")}`);
    const isRestored = this.#world.database.content === new MariadbPod(this.#source).content;
    if (isOk && command === "restore" && !isRestored) found.push("what was restored is not what was dumped");
    if (fault.at === "none" && !isOk) found.push(`it failed: exit code ${ended.code}`);
    if (fault.at !== "process" || isStopped(fault)) {
      if (lock.holder(this.#world) !== "" && !freesItself(ended)) found.push("the lock is held");
      if (ended.signal !== null) found.push(`ended by ${ended.signal}`);
    }
    return found;
  }

  /** Takes over from a run that was killed. */
  async #nextRun(place: Place): Promise<string[]> {
    lock.expire(this.#world);
    const isTaken = filesIn(this.#world, place).size > this.#earlier.length;
    if (isTaken) await sleep(1000 - (Date.now() % 1000) + 5);
    const before = stateOf(this.#world);
    const ended = await start(this.#argv("create", place), { env: this.#world.env }).ended;
    const found = await violations(this.#world, before, { ended });
    return [...found, ...(ended.code === 0 ? [] : [ended.stderr])].map((each) => `the next run: ${each}`);
  }
}

function isStopped(fault: ProgramFault): boolean {
  return fault.at === "process" && fault.signal !== "SIGKILL";
}

/** A lock that could not be given back frees itself, and the run says so. */
function freesItself({ stderr }: Ended): boolean {
  return stderr.includes("the lock was not released and will free itself");
}
