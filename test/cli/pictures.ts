/** Makes the pictures of docs/images: `npm run docs:images`. Somebody types at bash on a real pseudo-terminal, the program
 *  runs from its sources against the stage of the fault tests, and what the terminal shows is drawn as SVG. */
import { mkdirSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { PseudoTerminal, type StyledText } from "../fakes/terminal.ts";
import { Stage } from "../faults/stage.ts";
import { daily, plantIn, snapshotAt } from "../snapshots.ts";

const images = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const program = fileURLToPath(new URL("../../plugin/kubectl-kaa_backup.ts", import.meta.url));
const columns = 104;
/** What only these fakes make it say: S3 on loopback has no TLS. */
const ofFakes = /is reached without TLS/;

const [columnPx, rowPx, fontPx, marginPx] = [8, 18, 13, 14];
const colors = { text: "#d4d4d4", background: "#1e1e1e" } as const;
/** The terminal's own eight, then the bright ones. */
const palette = [
  ...["#1e1e1e", "#f14c4c", "#23d18b", "#e5e510", "#3b8eea", "#d670d6", "#29b8db", "#d4d4d4"],
  ...["#8a8a8a", "#f14c4c", "#23d18b", "#f5f543", "#3b8eea", "#d670d6", "#29b8db", "#ffffff"],
];

function svgOf(rows: readonly (readonly StyledText[])[], title: string): string {
  const [width, height] = [columns * columnPx + 2 * marginPx, rows.length * rowPx + 2 * marginPx];
  const texts = rows.flatMap((row, index) => row.map((each) => textOf(each, marginPx + (index + 0.75) * rowPx)));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="ui-monospace,Menlo,Consolas,monospace" font-size="${fontPx}" xml:space="preserve">`,
    `<title>${title}</title>`,
    `<rect width="100%" height="100%" rx="8" fill="${colors.background}"/>`,
    ...texts,
    "</svg>\n",
  ].join("\n");
}

/** As broad as so many columns, whatever font there is. */
function textOf({ text, column, width, color, isBold, isDim }: StyledText, y: number): string {
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const fill = color === undefined ? colors.text : (palette[color] ?? colors.text);
  const style = `${isBold ? ' font-weight="bold"' : ""}${isDim ? ' opacity="0.6"' : ""}`;
  return `<text x="${marginPx + column * columnPx}" y="${y}" textLength="${width * columnPx}" lengthAdjust="spacingAndGlyphs" fill="${fill}"${style}>${escaped}</text>`;
}

const titles = {
  "create-running": "create, while storages are dumped",
  create: "create, when it has ended",
  list: "list -o wide",
  restore: "restore, which asks for the snapshot",
} as const;

function save(name: keyof typeof titles, terminal: PseudoTerminal): void {
  const rows = terminal.rows.filter((row) => !ofFakes.test(row.map(({ text }) => text).join("")));
  writeFileSync(`${images}${name}.svg`, svgOf(rows, titles[name]));
}

const stage = await Stage.set({ rows: 200_000, vaultBytes: 3_000_000 });
const terminal = new PseudoTerminal(["bash", "--norc", "-i"], {
  env: {
    PATH: process.env["PATH"] ?? "",
    HOME: stage.folder,
    KUBECONFIG: stage.api.kubeconfig,
    PS1: "$ ",
    ...stage.environment(),
  },
  columns,
  rows: 24,
});
try {
  mkdirSync(images, { recursive: true });
  const bucket = stage.s3.bucket("storage-backup--kaa");
  const yesterday = new Date(Date.now() - 86_400_000);
  for (const date of daily(3, yesterday)) {
    const lacks = date.getTime() < yesterday.getTime() - 86_400_000 ? ["vault/kaa-vault"] : [];
    const holds = ["mariadb/kaa-mariadb", ...(lacks.length > 0 ? [] : ["vault/kaa-vault"])];
    plantIn(bucket, await snapshotAt(date, { holds, lacks }));
  }
  writeFileSync(`${stage.mariadb}/after-dump`, "sleep 3\n");
  const start = async () => {
    terminal.press(`kubectl() { shift; '${process.execPath}' --no-warnings '${program}' "$@"; }; clear\r`);
    await sleep(500);
  };
  await terminal.shows("$");
  await start();
  terminal.press("kubectl kaa-backup create -n kaa --storage mariadb,vault\r");
  await terminal.shows(/mariadb\/\S+ +dumping +[\d.]+ MiB/);
  await sleep(1000);
  save("create-running", terminal);
  await terminal.shows(/^created s3:\/\/\S+tar\.gz/m, 60_000);
  await sleep(300);
  save("create", terminal);
  await start();
  terminal.press("kubectl kaa-backup list -n kaa -o wide\r");
  await terminal.shows(/STORAGES[\s\S]*\$ *$/);
  save("list", terminal);
  await start();
  terminal.press("kubectl kaa-backup restore -n kaa\r");
  await terminal.shows(/Which snapshot/);
  await terminal.shows(/Partial/);
  terminal.press("\x1b[B");
  await sleep(800);
  save("restore", terminal);
  terminal.press("\x1b");
  await sleep(500);
} finally {
  await terminal[Symbol.asyncDispose]();
  await stage[Symbol.asyncDispose]();
}
process.exit();
