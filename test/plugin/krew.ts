/** What krew asks of a manifest: the rules of its ValidatePlugin and, for entry into its index, of validate-krew-manifest.
 *  Source: krew v0.4.3, internal/index/validation/validate.go and cmd/validate-krew-manifest/main.go. */
import { loadYaml } from "@kubernetes/client-node";

interface Platform {
  readonly uri?: string;
  readonly sha256?: string;
  readonly bin?: string;
  readonly files?: readonly { readonly from?: string; readonly to?: string }[];
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
}

export interface KrewManifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: { readonly name?: string };
  readonly spec?: {
    readonly version?: string;
    readonly shortDescription?: string;
    readonly platforms?: readonly Platform[];
  };
}

/** The machines that krew runs on, in Go's names. */
const machines = [
  ...["386", "amd64", "arm64"].map((arch) => ({ os: "windows", arch })),
  ...["386", "amd64", "arm", "arm64"].map((arch) => ({ os: "linux", arch })),
  ...["386", "amd64", "arm64"].map((arch) => ({ os: "darwin", arch })),
];
const windowsDevices = /^(con|prn|aux|nul|com\d|lpt\d)$/i;
// https://semver.org, with the "v" that krew wants
const version = /^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z.-]+)?$/;

export function parseManifest(text: string): KrewManifest {
  return loadYaml<KrewManifest>(text);
}

/** Everything that is wrong with a manifest. Selectors by matchExpressions are krew's, too, but not ours, and count as wrong. */
export function faultsOf({ apiVersion, kind, metadata, spec }: KrewManifest): readonly string[] {
  const faults: string[] = [];
  const must = (holds: boolean, fault: string) => {
    if (!holds) faults.push(fault);
  };
  must(apiVersion === "krew.googlecontainertools.github.com/v1alpha2", "apiVersion");
  must(kind === "Plugin", "kind");
  const name = metadata?.name ?? "";
  must(/^[\w-]+$/.test(name) && !windowsDevices.test(name), "name");
  must(/^[^\r\n]+$/.test(spec?.shortDescription ?? ""), "shortDescription");
  must(version.test(spec?.version ?? ""), "version");
  const platforms = Array.isArray(spec?.platforms) ? (spec.platforms as readonly Platform[]) : [];
  must(platforms.length > 0, "no platforms");
  for (const [index, { uri, sha256, bin, files, selector }] of platforms.entries()) {
    must((uri ?? "") !== "", `platform ${index}: uri`);
    must(/^[a-f0-9]{64}$/.test(sha256 ?? ""), `platform ${index}: sha256`);
    must((bin ?? "") !== "", `platform ${index}: bin`);
    must(files === undefined || files.length > 0, `platform ${index}: files is empty`);
    must(
      (files ?? []).every(({ from, to }) => from && to),
      `platform ${index}: files`,
    );
    const labels = Object.keys(selector?.matchLabels ?? {});
    must(labels.length > 0 && labels.every((each) => each === "os" || each === "arch"), `platform ${index}: selector`);
    must(
      machines.some((machine) => matches(machine, selector?.matchLabels)),
      `platform ${index}: matches no machine`,
    );
    must(!bin?.endsWith(".exe") || selector?.matchLabels?.["os"] === "windows", `platform ${index}: .exe`);
  }
  for (const machine of machines) {
    const matching = platforms.filter((platform) => matches(machine, platform.selector?.matchLabels));
    must(matching.length < 2, `platforms overlap: ${machine.os}/${machine.arch}`);
  }
  return faults;
}

function matches(
  machine: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(labels ?? {}).every(([label, value]) => machine[label] === value);
}
