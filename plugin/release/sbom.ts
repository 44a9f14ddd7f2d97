/** What the program is made of, as CycloneDX. */
import { execFileSync } from "node:child_process";
import packageJson from "../../package.json" with { type: "json" };
import type { Build } from "../../src/cli/version.ts";
import { root } from "../program.ts";

/** npm's own bill of materials of what package-lock.json has for production, and bun. Equal sources give an equal text.
 *  Source: https://cyclonedx.org/docs/1.5/json/ */
export function sbomText(build: Build, bunVersion: string): string {
  const npm = ["sbom", "--sbom-format=cyclonedx", "--omit=dev", "--sbom-type=application", "--package-lock-only"];
  const bom = JSON.parse(
    execFileSync("npm", npm, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }),
  );
  delete bom.serialNumber; // a new one each time
  bom.metadata.timestamp = build.date;
  Object.assign(bom.metadata.component, { name: packageJson.name }); // npm takes the name of the folder
  bom.metadata.component.properties.push({ name: "commit", value: build.commit });
  const bun = `bun@${bunVersion}`;
  bom.components.push({
    "bom-ref": bun,
    type: "framework",
    name: "bun",
    version: bunVersion,
    scope: "required",
    purl: `pkg:npm/${bun}`,
    licenses: [{ license: { id: "MIT" } }],
  });
  const own = bom.metadata.component["bom-ref"];
  bom.dependencies.find((each: { ref: string }) => each.ref === own).dependsOn.push(bun);
  bom.dependencies.push({ ref: bun, dependsOn: [] });
  return `${JSON.stringify(bom, null, 2)}\n`;
}
