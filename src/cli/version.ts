import packageJson from "../../package.json" with { type: "json" };

/** The one truth about the version. */
export const tool = { name: packageJson.name, version: packageJson.version } as const;
