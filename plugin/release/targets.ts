/** The machines that a release serves. `os` and `arch` are Go's names, which kubectl and krew use; `platform` is bun's. */
export const targets = [
  { os: "linux", arch: "amd64", platform: "linux-x64", program: "kubectl-kaa_backup" },
  { os: "linux", arch: "arm64", platform: "linux-aarch64", program: "kubectl-kaa_backup" },
  { os: "darwin", arch: "amd64", platform: "darwin-x64", program: "kubectl-kaa_backup" },
  { os: "darwin", arch: "arm64", platform: "darwin-aarch64", program: "kubectl-kaa_backup" },
  { os: "windows", arch: "amd64", platform: "windows-x64", program: "kubectl-kaa_backup.exe" },
] as const;

export type Target = (typeof targets)[number];

/** File name of a target's archive. */
export function archiveName({ os, arch }: Target, version: string): string {
  return `kubectl-kaa_backup_v${version}_${os}_${arch}.tar.gz`;
}
