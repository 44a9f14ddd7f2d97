/** What is known about the tasks of a run. Terminal, log and JSON lines are views of it. */
import type { PlannedTask } from "../base/reporter.ts";

export interface Task {
  readonly name: string;
  /** Announced before it started: has a line of its own for the whole run, and a row in the table at its end. */
  readonly isPlanned: boolean;
  readonly state: "waiting" | "running" | "done" | "failed" | "stopped";
  /** "dumping"; "" while it waits. */
  readonly doing: string;
  readonly bytes: number;
  /** 0: nobody knows. */
  readonly expectedBytes: number;
  /** Since it started; stands still when it has ended. */
  readonly elapsedMs: number;
  /** While it runs: of the last seconds. Later: of the whole. */
  readonly bytesPerSecond: number;
  /** What is left at this rate; undefined when that is no more than a guess at nothing. */
  readonly leftMs: number | undefined;
  readonly summary: string;
}

interface Entry {
  readonly isPlanned: boolean;
  state: Task["state"];
  doing: string;
  expectedBytes: number;
  bytes: number;
  summary: string;
  startedMs: number;
  endedMs: number | undefined;
  /** Recent [time, bytes], oldest first. */
  samples: (readonly [number, number])[];
}

/** The rate shown is that of so much time: long enough to be steady, short enough to tell that nothing moves. */
const rateWindowMs = 10_000;
const sampleMs = 500;

export class Board {
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();

  /** @param now milliseconds of a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  plan(tasks: readonly PlannedTask[]): void {
    for (const { task, expectedBytes = 0 } of tasks)
      this.#entries.set(task, { ...this.#fresh(), isPlanned: true, state: "waiting", expectedBytes });
  }

  start(name: string, { doing, expectedBytes }: { readonly doing: string; readonly expectedBytes?: number }): void {
    const planned = this.#entries.get(name);
    this.#entries.set(name, {
      ...this.#fresh(),
      isPlanned: planned?.isPlanned ?? false,
      doing,
      expectedBytes: expectedBytes ?? planned?.expectedBytes ?? 0,
    });
  }

  progress(name: string, bytes: number): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    const nowMs = this.#now();
    if (bytes < entry.bytes) entry.samples = []; // tried again
    entry.bytes = bytes;
    const lastMs = entry.samples.at(-1)?.[0] ?? Number.NEGATIVE_INFINITY;
    if (nowMs - lastMs < sampleMs) return;
    entry.samples.push([nowMs, bytes]);
    while ((entry.samples[1]?.[0] ?? nowMs) < nowMs - rateWindowMs) entry.samples.shift();
  }

  /** Ends a task; one that nobody has heard of before is remembered, too. */
  end(name: string, state: "done" | "failed", summary: string): Task {
    const entry = this.#entries.get(name) ?? this.#fresh();
    const nowMs = this.#now();
    if (entry.state === "waiting") entry.startedMs = nowMs; // failed before it began
    Object.assign(entry, { state, summary, endedMs: nowMs });
    this.#entries.set(name, entry);
    const task = this.#task(name, entry);
    if (!entry.isPlanned) this.#entries.delete(name);
    return task;
  }

  /** In the order in which they were planned, then in that of their start. */
  get tasks(): readonly Task[] {
    return [...this.#entries].map(([name, entry]) => this.#task(name, entry));
  }

  get running(): readonly Task[] {
    return this.tasks.filter((each) => each.state === "running");
  }

  /** The end of a phase: what became of the planned tasks. Those that still run have been stopped. Forgets all. */
  clear(): readonly Task[] {
    for (const entry of this.#entries.values())
      if (entry.state === "running") Object.assign(entry, { state: "stopped", endedMs: this.#now() });
    const ended = this.tasks.filter((each) => each.isPlanned);
    this.#entries.clear();
    return ended;
  }

  #fresh(): Entry {
    const startedMs = this.#now();
    return {
      isPlanned: false,
      state: "running",
      doing: "",
      expectedBytes: 0,
      bytes: 0,
      summary: "",
      startedMs,
      endedMs: undefined,
      samples: [[startedMs, 0]],
    };
  }

  #task(name: string, entry: Entry): Task {
    const { isPlanned, state, doing, bytes, expectedBytes, summary } = entry;
    const nowMs = entry.endedMs ?? this.#now();
    const elapsedMs = state === "waiting" ? 0 : nowMs - entry.startedMs;
    const [sinceMs, sinceBytes] = (state === "running" ? entry.samples[0] : undefined) ?? [entry.startedMs, 0];
    const bytesPerSecond = nowMs > sinceMs ? ((bytes - sinceBytes) * 1000) / (nowMs - sinceMs) : 0;
    const leftBytes = expectedBytes - bytes;
    const leftMs =
      state === "running" && leftBytes > 0 && bytesPerSecond > 0 ? (leftBytes * 1000) / bytesPerSecond : undefined;
    return { name, isPlanned, state, doing, bytes, expectedBytes, elapsedMs, bytesPerSecond, leftMs, summary };
  }
}
