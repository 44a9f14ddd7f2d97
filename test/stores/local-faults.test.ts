/** Faults of a directory, by the numbers of the fault catalogue (LD-01 to LD-10). */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { UserError } from "../../src/base/errors.ts";
import { directoryStore } from "../../src/stores/local.ts";
import type { Store } from "../../src/stores/store.ts";
import { contentOf, first, inChunks, listed, never, noise, request, second } from "./conformance.ts";
import { type DiskFault, FaultyDisk } from "./faulty-disk.ts";

const bytes = noise(300_000);
const archive = () => inChunks(bytes, 70_000); // five writes
let parent: string;
let path: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "kaa-disk-"));
  path = join(parent, "backup");
  mkdirSync(path);
});
afterEach(() => {
  rmSync(parent, { recursive: true, force: true });
});

async function saveWith(...faults: readonly DiskFault[]) {
  const disk = new FaultyDisk(...faults);
  const store = directoryStore(path, { fileSystem: disk.fileSystem });
  const outcome = await store.save(request(archive())).catch((error: unknown) => error);
  return { disk, outcome };
}

function expectRefused(outcome: unknown, wanted: { readonly outcome: string; readonly message?: RegExp }) {
  expect(outcome).toBeInstanceOf(UserError);
  expect(outcome).toMatchObject({ outcome: wanted.outcome });
  if (wanted.message !== undefined) expect((outcome as UserError).message).toMatch(wanted.message);
  expect(readdirSync(path)).toEqual([]);
}

function expectSaved(outcome: unknown) {
  expect(outcome).toMatchObject({ fileName: first, sizeBytes: bytes.byteLength });
  expect(readdirSync(path)).toEqual([first]);
  expect(readFileSync(join(path, first)).equals(bytes)).toBe(true);
}

test.each([1, 2, 3, 4, 5])(
  "a disk that is full at write %i: the temporary file goes, need and space are told (LD-01)",
  async (nth) => {
    for (const code of ["ENOSPC", "EDQUOT"]) {
      const { outcome } = await saveWith({ code, call: "file.write", nth, times: 9 });
      const need = new RegExp(`after ${(nth - 1) * 70_000} bytes, at least \\d+ more are needed, \\d+ bytes are free`);
      expectRefused(outcome, { outcome: "local-disk", message: need });
    }
  },
);

test.each(["file.write", "file.sync", "file.stat", "file.close", "file.chmod"])(
  "a device that fails at %s ends the save (LD-02)",
  async (call) => {
    expectRefused((await saveWith({ code: "EIO", call })).outcome, { outcome: "local-disk", message: /input\/output/ });
  },
);

test("a device that takes nothing and reports no error ends the save (LD-02)", async () => {
  const { outcome } = await saveWith({ code: "nothing", call: "file.write", nth: 2, times: 9 });
  expectRefused(outcome, { outcome: "local-disk", message: /input\/output error .* after 70000 bytes/ });
});

test("a file that is not as long as what was written gets no name (LD-02)", async () => {
  const lengthened = async function* () {
    yield* archive();
    const [temporary = ""] = readdirSync(path);
    appendFileSync(join(path, temporary), "x");
  };
  const outcome = await directoryStore(path)
    .save(request(lengthened()))
    .catch((error: unknown) => error);
  expectRefused(outcome, { outcome: "local-disk", message: /300000 bytes were written, but the file has 300001/ });
});

test.each(["file.write", "file.sync", "link", "lstat", "statfs"])(
  "an error at %s that is not the system's is not told as one of the disk, and leaves nothing (LD-02)",
  async (call) => {
    const full: DiskFault = { code: "ENOSPC", call: "file.write" };
    const defect: DiskFault = { code: "ERR_OUT_OF_RANGE", call };
    const { outcome } = await saveWith(...(call === "statfs" ? [full, defect] : [defect]));
    expect(outcome).not.toBeInstanceOf(UserError);
    expect(outcome).toMatchObject({ code: "ERR_OUT_OF_RANGE" });
    expect(readdirSync(path)).toEqual([]);
  },
);

test("a device that fails while reading ends the read (LD-02)", async () => {
  await saveWith();
  const disk = new FaultyDisk({ code: "EIO", call: "file.read", nth: 2 });
  const store = directoryStore(path, { fileSystem: disk.fileSystem });
  await expect(contentOf(store, first)).rejects.toMatchObject({ outcome: "local-disk" });
});

test("a failed fsync is final: there is no second one on that file (LD-03)", async () => {
  const { disk, outcome } = await saveWith({ code: "EIO", call: "file.sync" });
  expectRefused(outcome, { outcome: "local-disk" });
  const beforeUndo = disk.calls.slice(
    0,
    disk.calls.findIndex((call) => call.startsWith("unlink")),
  );
  expect(beforeUndo.filter((call) => call === "file.sync")).toHaveLength(1);
  expect(disk.calls.some((call) => call.startsWith("link"))).toBe(false);
});

test("the file is durable before it gets its name, and the name before save() returns (LD-04)", async () => {
  const { disk, outcome } = await saveWith();
  expectSaved(outcome);
  const steps = disk.calls
    .map((call) => call.replace(/ .*/, ""))
    .filter((call) => /write|sync|^link|unlink/.test(call));
  const writes = Array.from({ length: 5 }, () => "file.write");
  expect(steps).toEqual([...writes, "file.sync", "link", "unlink", "file.sync"]);
});

test.each(["EPERM", "ENOTSUP", "ENOSYS", "EOPNOTSUPP", "EISDIR"])(
  "without hard links (%s) a reserved name is replaced (LD-05)",
  async (code) => {
    const { disk, outcome } = await saveWith({ code, call: "link", times: 9 });
    expectSaved(outcome);
    expect(disk.calls.some((call) => call.startsWith("rename"))).toBe(true);
  },
);

test("without hard links an existing name is not replaced either (LD-05)", async () => {
  const disk = new FaultyDisk({ code: "EPERM", call: "link", times: 9 }, { code: "ENOENT", call: "lstat" });
  const store = directoryStore(path, { fileSystem: disk.fileSystem });
  writeFileSync(join(path, first), "theirs");
  await expect(store.save(request(archive()))).rejects.toMatchObject({ outcome: "busy" });
  expect(readFileSync(join(path, first), "utf8")).toBe("theirs");
  expect(readdirSync(path)).toEqual([first]);
});

test("a name that appears during the save is not replaced (LD-05)", async () => {
  const store = directoryStore(path);
  const late = async function* () {
    yield* archive();
    writeFileSync(join(path, first), "theirs");
  };
  await expect(store.save(request(late()))).rejects.toMatchObject({ outcome: "busy" });
  expect(readFileSync(join(path, first), "utf8")).toBe("theirs");
  expect(readdirSync(path)).toEqual([first]);
});

test("a rename that fails takes its reservation with it (LD-05)", async () => {
  for (const code of ["EXDEV", "EIO"]) {
    const { outcome } = await saveWith({ code: "EXDEV", call: "link" }, { code, call: "rename" });
    expectRefused(outcome, { outcome: "local-disk" });
  }
});

test("an empty file is a reservation, never a snapshot; prepare() removes it after an hour (LD-05)", async () => {
  const store = directoryStore(path);
  writeFileSync(join(path, first), "");
  expect(await listed(store)).toEqual([]);
  await store.prepare(never);
  expect(readdirSync(path)).toEqual([first]);
  age(first, 61);
  await store.prepare(never);
  expect(readdirSync(path)).toEqual([]);
});

test("NFS: a link that was done, but whose answer says that it exists, is a success (LD-05)", async () => {
  expectSaved((await saveWith({ code: "EEXIST", call: "link", afterwards: true })).outcome);
});

test("NFS: a removal that was done, but whose answer says that there is no such file, leaves nothing (LD-05)", async () => {
  const { outcome } = await saveWith(
    { code: "EIO", call: "file.sync", nth: 2 }, // of the directory: the file has its name
    { code: "ENOENT", call: "unlink", nth: 2, times: 9, afterwards: true },
  );
  expectRefused(outcome, { outcome: "local-disk", message: /input\/output/ });
});

test("a name that cannot be seen after the link is no success, and leaves nothing (LD-05)", async () => {
  const { outcome } = await saveWith({ code: "ENOENT", call: "lstat", nth: 2 });
  expectRefused(outcome, { outcome: "local-disk", message: /gone right after it was published/ });
});

test("a temporary file that was there before is not ours, and stays (LD-05)", async () => {
  const { disk } = await saveWith();
  rmSync(join(path, first));
  const temporary = disk.calls.find((call) => call.startsWith("open "))!.slice("open ".length);
  writeFileSync(temporary, "theirs");
  expect((await saveWith()).outcome).toMatchObject({ outcome: "local-disk" });
  expect(readFileSync(temporary, "utf8")).toBe("theirs");
  expect(readdirSync(path)).toHaveLength(1);
});

test("a link or rename that was done, but failed, leaves nothing (LD-05)", async () => {
  expectRefused((await saveWith({ code: "EIO", call: "link", afterwards: true })).outcome, { outcome: "local-disk" });
  const noLinks: DiskFault = { code: "EPERM", call: "link" };
  const { outcome } = await saveWith(noLinks, { code: "EIO", call: "rename", afterwards: true });
  expectRefused(outcome, { outcome: "local-disk" });
});

test("a file system that cannot fsync a directory is used; one that fails at it is not (LD-05)", async () => {
  for (const code of ["EINVAL", "ENOTSUP", "EOPNOTSUPP"]) {
    expectSaved((await saveWith({ code, call: "file.sync", nth: 2 })).outcome);
    rmSync(join(path, first));
  }
  expectRefused((await saveWith({ code: "EIO", call: "file.sync", nth: 2 })).outcome, { outcome: "local-disk" });
});

test("what cannot be removed is reported, with the first cause (LD-05)", async () => {
  const { outcome } = await saveWith({ code: "ENOSPC", call: "file.write" }, { code: "EIO", call: "unlink", times: 9 });
  const [left = ""] = readdirSync(path);
  expect(outcome).toMatchObject({ outcome: "leftovers", hints: [expect.stringContaining(left)] });
  expect((outcome as UserError).cause).toMatchObject({ outcome: "local-disk" });
  expect((outcome as UserError).message).toContain("no space left");
});

test("prepare() makes an absent directory, for its owner only (LD-06)", async () => {
  const deep = join(path, "a", "b");
  await directoryStore(deep).prepare(never);
  expect(statSync(deep).mode & 0o777).toBe(0o700);
});

test("prepare() and check() refuse a file (LD-06)", async () => {
  writeFileSync(join(path, "file"), "");
  for (const wrong of [join(path, "file"), join(path, "file", "deeper")]) {
    const refusal = { outcome: "local-disk", message: expect.stringContaining("not a directory") };
    await expect(directoryStore(wrong).prepare(never)).rejects.toMatchObject(refusal);
    await expect(directoryStore(wrong).check(never)).rejects.toMatchObject(refusal);
  }
});

test.each([
  ["EACCES", /permission denied/],
  ["EROFS", /read-only/],
  ["ENOSPC", /no space/],
])("prepare() refuses a directory that cannot be written: %s (LD-06)", async (code, message) => {
  for (const call of ["open", "file.write", "file.sync"]) {
    const disk = new FaultyDisk({ code, call });
    const preparing = directoryStore(path, { fileSystem: disk.fileSystem }).prepare(never);
    await expect(preparing).rejects.toThrow(message);
    expect(readdirSync(path)).toEqual([]);
  }
});

test.each([
  ["check", "stat", (store: Store) => store.check(never)],
  ["list", "readdir", listed],
  ["list", "lstat", listed],
  ["remove", "unlink", (store: Store) => store.remove(first, never)],
] as const)("%s() tells a %s that is denied from one that finds nothing (LD-06)", async (_name, call, act) => {
  writeFileSync(join(path, first), "data");
  const { fileSystem } = new FaultyDisk({ code: "EACCES", call });
  const refusal = { outcome: "local-disk", message: expect.stringContaining("permission denied") };
  await expect(act(directoryStore(path, { fileSystem }))).rejects.toMatchObject(refusal);
  expect(readdirSync(path)).toEqual([first]);
});

test("files that are not snapshots, and one that goes while we look, are not listed (LD-06)", async () => {
  for (const name of [first, second, "notes.txt", `${first}.bak`]) writeFileSync(join(path, name), "data");
  expect((await listed(directoryStore(path))).map(({ fileName }) => fileName)).toEqual([first, second]);
  const { fileSystem } = new FaultyDisk({ code: "ENOENT", call: "lstat" });
  expect(await listed(directoryStore(path, { fileSystem }))).toHaveLength(1);
});

test("on Windows directories are not opened, and mode bits mean nothing (LD-06)", async () => {
  const platform = vi.spyOn(process, "platform", "get").mockReturnValue("win32");
  try {
    chmodSync(path, 0o777);
    const notes: string[] = [];
    const { fileSystem, calls } = new FaultyDisk();
    const store = directoryStore(path, { fileSystem, note: (message) => notes.push(message) });
    await store.prepare(never);
    await store.save(request(archive()));
    await store.remove(first, never);
    expect(calls).not.toContain(`open ${path}`);
    expect(notes).toEqual([]);
  } finally {
    platform.mockRestore();
  }
});

test("prepare() notes a directory that everybody may write to (LD-06)", async () => {
  const notes: string[] = [];
  const store = directoryStore(path, { note: (message) => notes.push(message) });
  await store.prepare(never);
  expect(notes).toEqual([]);
  chmodSync(path, 0o777);
  await store.prepare(never);
  expect(notes).toEqual([expect.stringContaining("every user")]);
});

test("links, pipes and directories under a snapshot's name are neither listed, read nor replaced (LD-06)", async () => {
  const store = directoryStore(path);
  const outside = join(parent, "outside");
  writeFileSync(outside, "secret");
  const plants: readonly ((at: string) => void)[] = [
    (at) => symlinkSync(outside, at),
    (at) => symlinkSync(join(parent, "nothing"), at),
    (at) => execFileSync("mkfifo", [at]),
    (at) => mkdirSync(at),
  ];
  for (const plant of plants) {
    const at = join(path, first);
    plant(at);
    expect(await listed(store)).toEqual([]);
    await expect(store.open(first, never)).rejects.toMatchObject({ outcome: "local-disk" });
    await expect(store.save(request(archive()))).rejects.toMatchObject({ outcome: "busy" });
    expect(readdirSync(path)).toEqual([first]);
    rmSync(at, { recursive: true });
  }
  expect(readFileSync(outside, "utf8")).toBe("secret");
  expect(existsSync(join(parent, "nothing"))).toBe(false);
});

function age(name: string, minutes: number): void {
  const then = new Date(Date.now() - minutes * 60_000);
  utimesSync(join(path, name), then, then);
}

test("prepare() removes temporary files of dead runs only (LD-07)", async () => {
  const host = hostname();
  const dead = 4_194_305; // above the largest process id of Linux
  const files: readonly (readonly [name: string, minutes: number, stays: boolean])[] = [
    [`.kaa-backup~${dead}~${host}~r1~${first}`, 61, false],
    [`.kaa-backup~${dead}~${host}~r2~${first}`, 59, true],
    [`.kaa-backup~${process.ppid}~${host}~r3~${first}`, 23 * 60, true],
    [`.kaa-backup~1~elsewhere~r4~${first}`, 23 * 60, true],
    [`.kaa-backup~1~elsewhere~r5~${first}`, 25 * 60, false],
    [`.kaa-backup-notes~${first}`, 25 * 60, true],
    [first, 25 * 60, true],
    [".hidden", 25 * 60, true],
  ];
  for (const [name, minutes] of files) {
    writeFileSync(join(path, name), "data");
    age(name, minutes);
  }
  const notes: string[] = [];
  await directoryStore(path, { note: (message) => notes.push(message) }).prepare(never);
  const kept = files.filter(([, , stays]) => stays).map(([name]) => name);
  expect(readdirSync(path).sort()).toEqual(kept.sort());
  expect(notes).toHaveLength(2);
});

test.each([
  ["ENOENT", "lstat", []],
  ["ENOENT", "unlink", []],
  ["EPERM", "unlink", [/^cannot remove ".*it belongs to another user$/]],
  ["EACCES", "lstat", [/^cannot remove ".*it belongs to another user$/]],
] as const)("%s for a leftover at %s does not stop prepare() (LD-07)", async (code, call, told) => {
  const leftover = `.kaa-backup~1~elsewhere~r1~${first}`;
  writeFileSync(join(path, leftover), "data");
  age(leftover, 25 * 60);
  const notes: string[] = [];
  const { fileSystem } = new FaultyDisk({ code, call });
  await directoryStore(path, { fileSystem, note: (message) => notes.push(message) }).prepare(never);
  expect(notes).toEqual(told.map((words) => expect.stringMatching(words)));
  expect(readdirSync(path)).toEqual([leftover]);
});

test("a device that fails at a leftover stops prepare() (LD-02)", async () => {
  writeFileSync(join(path, first), "");
  const { fileSystem } = new FaultyDisk({ code: "EIO", call: "lstat" });
  const preparing = directoryStore(path, { fileSystem }).prepare(never);
  await expect(preparing).rejects.toThrow(/cannot clean the directory ".*": input\/output error/);
});

test("discardUnfinished() removes what was written under that name, and nothing else (LD-07)", async () => {
  const gone = [`.kaa-backup~1~elsewhere~r1~${first}`, `.kaa-backup~${process.pid}~${hostname()}~r2~${first}`];
  const kept = [`.kaa-backup~1~elsewhere~r3~${second}`, `.notes~${first}`, first];
  for (const name of [...gone, ...kept]) writeFileSync(join(path, name), "data");
  await directoryStore(path).discardUnfinished(first, never);
  expect(readdirSync(path).sort()).toEqual(kept.sort());
});

test("prepare() removes the probe of a dead run at once, and a living one's not (LD-07)", async () => {
  const of = (processId: number) => `.kaa-backup~${processId}~${hostname()}~r~probe`;
  for (const processId of [4_194_305, process.ppid]) writeFileSync(join(path, of(processId)), "probe");
  await directoryStore(path).prepare(never);
  expect(readdirSync(path)).toEqual([of(process.ppid)]);
});

test("a directory that goes away during the save ends it (LD-08)", async () => {
  const vanishing = async function* () {
    yield* archive();
    rmSync(path, { recursive: true });
  };
  const saving = directoryStore(path).save(request(vanishing()));
  await expect(saving).rejects.toMatchObject({ outcome: "local-disk" });
  expect(existsSync(path)).toBe(false);
});

test.each(["ESTALE", "ENODEV", "EHOSTDOWN"])(
  "a network file system that is gone (%s) ends the save (LD-08)",
  async (code) => {
    for (const call of ["file.write", "file.sync", "link"]) {
      expectRefused((await saveWith({ code, call })).outcome, { outcome: "local-disk" });
    }
  },
);

test("short and interrupted writes are completed (LD-08)", async () => {
  expectSaved((await saveWith({ code: "short", call: "file.write", times: 7 })).outcome);
  rmSync(join(path, first));
  expectSaved((await saveWith({ code: "EINTR", call: "file.write", nth: 2, times: 3 })).outcome);
  rmSync(join(path, first));
  expectSaved((await saveWith({ code: "EAGAIN", call: "file.write", nth: 3 })).outcome);
  rmSync(join(path, first));
  expectRefused((await saveWith({ code: "EAGAIN", call: "file.write", times: 99 })).outcome, { outcome: "local-disk" });
});

test("too many open files is another outcome than a full disk (LD-08)", async () => {
  expectRefused((await saveWith({ code: "EMFILE", call: "open" })).outcome, { outcome: "resources" });
});

test("a file that is cut or changed while open ends the read (LD-09)", async () => {
  const store = directoryStore(path);
  await store.save(request(archive()));
  const file = await store.open(first, never);
  const read = async () => {
    for await (const _ of file.read(100, 250_000, never));
  };
  await read();
  truncateSync(join(path, first), 200_000);
  await expect(read()).rejects.toThrow("it ends at 200000 of 300000 bytes");
  writeFileSync(join(path, first), noise(300_000, "other"));
  await expect(read()).rejects.toThrow("changed while being read");
  await file.close();
});

test.each(["000", "777"])("a saved file is 0600 whatever the umask: %s (LD-10)", async (umask) => {
  const before = process.umask(umask);
  try {
    const store = directoryStore(path);
    await store.save(request(archive()));
    await store.save(request(archive(), { fileName: second }));
  } finally {
    process.umask(before);
  }
  for (const name of [first, second]) expect(statSync(join(path, name)).mode & 0o777).toBe(0o600);
});

test("a descriptor that cannot be closed after reading takes nothing back, and hides no other error (LD-02)", async () => {
  writeFileSync(join(path, first), bytes);
  const closing: DiskFault = { code: "EIO", call: "file.close", times: 9 };
  const whole = directoryStore(path, { fileSystem: new FaultyDisk(closing).fileSystem });
  expect((await contentOf(whole, first)).equals(bytes)).toBe(true);
  const failing = new FaultyDisk({ code: "ESTALE", call: "file.stat" }, closing);
  const opened = directoryStore(path, { fileSystem: failing.fileSystem }).open(first, never);
  await expect(opened).rejects.toMatchObject({
    outcome: "local-disk",
    message: expect.stringContaining("stale handle"),
  });
});

test("a probe that cannot be removed again is named (LD-02)", async () => {
  const store = directoryStore(path, { fileSystem: new FaultyDisk({ code: "EIO", call: "unlink" }).fileSystem });
  const error: unknown = await store.prepare(never).catch((thrown: unknown) => thrown);
  const [probe = ""] = readdirSync(path);
  expect(error).toMatchObject({ outcome: "local-disk", message: expect.stringContaining(join(path, probe)) });
});
