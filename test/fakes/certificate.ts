/** Self-signed certificates for servers in tests. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A fresh key and a certificate that it signed itself, as PEM. `alternativeName`: "IP:127.0.0.1"; `days`: how long it is
 *  valid, negative for one that has expired. */
export function certificateFor(
  name: string,
  alternativeName?: string,
  days = 2,
): { readonly key: string; readonly cert: string } {
  const folder = mkdtempSync(join(tmpdir(), "kaa-certificate-"));
  const file = (each: string) => join(folder, each);
  const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  try {
    // In two steps: `req -x509` makes none that has expired.
    const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file("key.pem")];
    openssl("req", "-new", ...newKey, "-subj", `/CN=${name}`, "-out", file("request.pem"));
    writeFileSync(file("extensions"), alternativeName === undefined ? "" : `subjectAltName=${alternativeName}\n`);
    const signing = ["-signkey", file("key.pem"), "-days", String(days), "-extfile", file("extensions")];
    openssl("x509", "-req", "-in", file("request.pem"), ...signing, "-out", file("cert.pem"));
    return { key: readFileSync(file("key.pem"), "utf8"), cert: readFileSync(file("cert.pem"), "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
