/** Self-signed certificates for servers in tests. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A fresh key and a certificate that it signed itself, as PEM. `alternativeName`: "IP:127.0.0.1". */
export function certificateFor(
  name: string,
  alternativeName?: string,
): { readonly key: string; readonly cert: string } {
  const folder = mkdtempSync(join(tmpdir(), "kaa-certificate-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const extension = alternativeName === undefined ? [] : ["-addext", `subjectAltName=${alternativeName}`];
  try {
    execFileSync(
      "openssl",
      [...request, ...extension, "-days", "2", "-subj", `/CN=${name}`, "-keyout", key, "-out", cert],
      { stdio: "pipe" },
    );
    return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
