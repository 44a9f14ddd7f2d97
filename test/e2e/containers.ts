/** What the end-to-end tests do to a storage's container from the host, as root: no pod could do it to itself. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { bedEnvironment, kubectl, run } from "./bed.ts";

/** The id, on this machine, of the process that a container began with. */
export async function processOf(namespace: string, pod: string): Promise<number> {
  const path = "jsonpath={.status.containerStatuses[0].containerID}";
  const id = (await kubectl(["-n", namespace, "get", "pod", pod, "-o", path])).replace("containerd://", "");
  const socket = bedEnvironment()["BED_CONTAINERD_SOCKET"] ?? "";
  const { stdout } = await run("ctr", ["-a", socket, "-n", "k8s.io", "tasks", "ls"]);
  const line = stdout.split("\n").find((each) => each.startsWith(id));
  const pid = Number(line?.split(/\s+/)[1]);
  if (!(pid > 1)) throw new Error(`no process of container ${id} of pod ${namespace}/${pod}`);
  return pid;
}

/** Kills a server as the kernel does when memory is short: it hears nothing of it, and its container ends. */
export async function killServer(namespace: string, pod: string): Promise<void> {
  process.kill(await processOf(namespace, pod), "SIGKILL");
}

/** Freezes a server; what asks it anything waits. */
export async function freezeServer(namespace: string, pod: string): Promise<void> {
  process.kill(await processOf(namespace, pod), "SIGSTOP");
}

export async function untilReady(namespace: string, pod: string): Promise<void> {
  // A container that has just died may still be called ready.
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await kubectl(["-n", namespace, "wait", "--for=condition=Ready", `pod/${pod}`, "--timeout=180s"]);
}

/** Runs `work` while files are missing in a running container. `paths` are absolute, in the container. */
export async function without<T>(
  { namespace, pod, paths }: { readonly namespace: string; readonly pod: string; readonly paths: readonly string[] },
  work: () => Promise<T>,
): Promise<T> {
  const root = `/proc/${await processOf(namespace, pod)}/root`;
  for (const path of paths) renameSync(`${root}${path}`, `${root}${path}.away`);
  try {
    return await work();
  } finally {
    for (const path of paths) renameSync(`${root}${path}.away`, `${root}${path}`);
  }
}

/** Runs `work` while a script stands in the place of a running container's tool, which it finds as `$0.away`. */
export async function insteadOf<T>(
  { namespace, pod, path, script }: Readonly<Record<"namespace" | "pod" | "path" | "script", string>>,
  work: () => Promise<T>,
): Promise<T> {
  const place = `/proc/${await processOf(namespace, pod)}/root${path}`;
  return await without({ namespace, pod, paths: [path] }, async () => {
    writeFileSync(place, `#!/bin/sh\n${script}\n`, { mode: 0o755, flag: "wx" });
    try {
      return await work();
    } finally {
      rmSync(place);
    }
  });
}

/** Runs `work` while a folder of a running container is a disk of its own, which has room for so many bytes. */
export async function withSmallDisk<T>(
  { namespace, pod, folder, sizeBytes }: { namespace: string; pod: string; folder: string; sizeBytes: number },
  work: () => Promise<T>,
): Promise<T> {
  const inContainer = ["-t", `${await processOf(namespace, pod)}`, "--mount", "--pid", "--"];
  const mount = async (...args: readonly string[]) => {
    const ran = await run("nsenter", [...inContainer, ...args]);
    if (ran.code !== 0) throw new Error(`${args.join(" ")}: ${ran.stderr}`);
  };
  await mount("mount", "-t", "tmpfs", "-o", `size=${sizeBytes},mode=1777`, "tmpfs", folder);
  try {
    return await work();
  } finally {
    await mount("umount", "-l", folder);
  }
}
