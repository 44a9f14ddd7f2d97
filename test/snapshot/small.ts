/** One small snapshot with everything that the format knows: several streams, mixed in the file, an empty one, one that a pod
 *  has compressed, a long name, segments of a failed attempt, a tar that has to pad. */
import { gzipSync } from "node:zlib";
import { close, type Forged, headerEntry, lay, manifestOf, slices, streamOf } from "./forge.ts";
import { noise } from "./make.ts";

const folder = "postgresql/kaa-postgresql~2";

export async function smallSnapshot(): Promise<Forged> {
  const rows = Buffer.from("INSERT INTO endpoint VALUES (42, 'alpha');\n".repeat(40));
  const plain = Buffer.concat([noise(300), Buffer.alloc(1000, "log line\n")]);
  const packed = gzipSync(plain);
  const longName = `databases/${"%D0%9A".repeat(20)}.dump`;
  const exact = noise(512);
  const [a = [], b = [], c = [], d = [], e = []] = [
    slices(`${folder}/rows.sql`, rows, 700),
    slices(`${folder}/log.gz`, packed, 200),
    [{ path: `${folder}/empty.000000`, content: Buffer.alloc(0) }],
    slices(`${folder}/${longName}`, noise(60, "long"), 100),
    slices(`${folder}/exact`, exact, 512),
  ];
  const failed = slices("postgresql/kaa-postgresql/rows.sql", rows.subarray(0, 900), 700);
  const order = [
    headerEntry(),
    ...failed.slice(0, 1),
    ...a.slice(0, 1),
    ...b.slice(0, 1),
    ...failed.slice(1),
    ...a.slice(1),
    ...c,
    ...b.slice(1),
    ...d,
    ...e,
  ];
  const { body, segments } = await lay(order);
  const at = (entries: readonly { path: string }[]) =>
    entries.flatMap(({ path }) => segments[order.findIndex((entry) => entry.path === path)] ?? []);
  const manifest = manifestOf({
    headerSegment: segments[0],
    streams: [
      streamOf("rows.sql", rows, at(a)),
      streamOf("log", packed, at(b), { encoding: "gzip", plain }),
      streamOf("empty", Buffer.alloc(0), at(c)),
      streamOf(longName, noise(60, "long"), at(d)),
      streamOf("exact", exact, at(e)),
    ],
    discarded: at(failed).map((segment, index) => ({ ...segment, path: failed[index]?.path ?? "" })),
  });
  const instances = manifest.instances.map((instance) => ({ ...instance, folder }));
  return await close(body, { ...manifest, instances });
}
