/** Peak memory of the built program, whole process, on the test bed: create into a store that takes 20 MB/s, and restore of
 *  what was made.
 *    npx node bench/memory.ts postgresql [GIGABYTES]   a database of text that hardly compresses; default 4.3, as stored
 *    npx node bench/memory.ts minio [OBJECTS]          one object of 5 GiB, and so many small ones; default 100000
 *  A third argument names another namespace than production-kaa. Needs the bed up and the program built, and empties the
 *  storages of that namespace. */
import { readFileSync } from "node:fs";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { inPod, program, resetBed } from "../test/e2e/bed.ts";
import { minioClient, natives, putLargeObject } from "../test/e2e/natives.ts";
import { SlowS3 } from "../test/e2e/slow-s3.ts";

const [storage = "", amount, namespace = "production-kaa"] = process.argv.slice(2);

const fill: Readonly<Record<string, () => Promise<void>>> = {
  async postgresql() {
    // A row is 1 KiB of hexadecimal digits, which deflate to a little more than half.
    const rows = Math.round((Number(amount ?? 4.3) * 1e9) / 590);
    await inPod(
      namespace,
      "postgresql",
      `psql -qX -d postgres -c "create table noise as select n, (select string_agg(md5(random()::text || n || m), '') from generate_series(1, 32) m) as t from generate_series(1, ${rows}) n"`,
    );
  },
  async minio() {
    await natives["minio"]?.seed(namespace);
    await putLargeObject(namespace, 80);
    const s3 = await minioClient(namespace);
    const keys = Array.from({ length: Number(amount ?? 100_000) }, (_, n) => `small/${n}`).values();
    const put = async () => {
      for (const Key of keys) await s3.send(new PutObjectCommand({ Bucket: "seeds-plain", Key, Body: Key.repeat(50) }));
    };
    await Promise.all(Array.from({ length: 8 }, put));
  },
};

/** Runs the program and prints what it took. */
async function measured(args: readonly string[], env: Record<string, string>): Promise<string> {
  const startedAt = performance.now();
  let peakKilobytes = 0;
  let timer: NodeJS.Timeout | undefined;
  const ran = await program(args, {
    env,
    onStart({ pid }) {
      timer = setInterval(() => {
        try {
          const status = readFileSync(`/proc/${pid}/status`, "utf8");
          peakKilobytes = Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? peakKilobytes);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOENT" && (error as NodeJS.ErrnoException).code !== "ESRCH")
            throw error;
        }
      }, 50);
    },
  });
  clearInterval(timer);
  if (ran.code !== 0) throw new Error(ran.stderr);
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  process.stdout.write(`${args[0]}: peak ${Math.round(peakKilobytes / 1024)} MiB, ${seconds} s\n`);
  return ran.stdout.trim();
}

const filling = fill[storage];
if (filling === undefined) throw new Error(`which storage? ${Object.keys(fill).join(" or ")}`);
await resetBed(namespace);
await filling();
const door = await SlowS3.open();
door.bytesPerSecond = 20e6;
try {
  const env = { AWS_ENDPOINT_URL: door.url };
  const here = ["-n", namespace, "--storage", storage, "-q"];
  const date = await measured(["create", ...here, "-o", "name"], env);
  await measured(["restore", "--date", date, ...here, "--yes"], env);
} finally {
  await door.close();
}
