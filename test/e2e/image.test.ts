/** The container image: what is in it on every platform, and on the real bed that the documented command lines work, and that it
 *  works under the conditions of the chart's CronJob. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { root } from "./bed.ts";
import { elfFiles, type Image, readArchive } from "./oci.ts";

const archive = join(root, "dist/image.tar");
const folder = mkdtempSync(join(tmpdir(), "kaa-image-"));
const platforms = ["linux/amd64", "linux/arm64"] as const;
let images: ReadonlyMap<string, Image>;

function newFolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  return path;
}

beforeAll(() => {
  images = readArchive(archive, newFolder("archive"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("the index has the two platforms and no other", () => {
  expect([...images.keys()].sort()).toEqual(platforms);
});

test("a second build has the same digest", () => {
  const file = join(folder, "again.tar");
  execFileSync(process.execPath, [join(root, "image/build.ts"), "--architecture", "amd64", "--file", file]);
  const again = readArchive(file, newFolder("again"));
  expect(again.get("linux/amd64")?.digest).toBe(images.get("linux/amd64")?.digest);
});

describe.each(platforms)("%s", (platform) => {
  let image: Image;
  let architecture: string;
  beforeAll(() => {
    const found = images.get(platform);
    if (found === undefined) throw new Error(`there is no image for ${platform}`);
    image = found;
    architecture = platform.replace("linux/", "");
  });

  test("every program and library is for this platform, and what it needs is in the image", () => {
    const files = elfFiles(image.root);
    const present = new Set(readdirSync(image.root, { recursive: true, encoding: "utf8" }).map((each) => `/${each}`));
    const libraries = new Set([...present].map((each) => each.slice(each.lastIndexOf("/") + 1)));
    for (const { path, machine, needs } of files) {
      expect(machine, path).toBe(architecture);
      for (const name of needs) {
        // Interpreters are named by way of /lib64 or /lib, which are links into /usr.
        if (name.startsWith("/")) expect(present, `${path} needs ${name}`).toContain(`/usr${name}`);
        else expect(libraries, `${path} needs ${name}`).toContain(name);
      }
    }
    const paths = files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining(["usr/bin/bash", "usr/local/bin/kubectl", "usr/local/bin/kubectl-kaa_backup"]),
    );
    expect(files.find(({ path }) => path === "usr/bin/bash")?.needs.length).toBeGreaterThan(2);
  });

  test("configuration and labels say who runs, what runs, and what it was built from", () => {
    const { os, created, config } = image.config;
    expect({ os, architecture: image.config.architecture }).toEqual({ os: "linux", architecture });
    expect(config).toMatchObject({
      User: "1000:1000",
      WorkingDir: "/home/app",
      Entrypoint: ["kubectl-kaa_backup"],
      Env: expect.arrayContaining(["HOME=/home/app", "KAA_BACKUP_DIR=/tmp/backup"]),
    });
    const label = (name: string) => config.Labels[`org.opencontainers.image.${name}`];
    expect(label("version")).toBe(packageJson.version);
    expect(label("title")).toBe("kubectl-kaa-backup");
    expect(label("licenses")).toBe("Apache-2.0");
    expect(label("revision")).toMatch(/^[0-9a-f]{40}(-dirty)?$|^unknown$/);
    expect(label("created")).toBe(created);
    expect(label("source")).toMatch(/^https:/);
    expect(label("description")).toBe(packageJson.description);
  });

  test("no file has a time, a privilege, or an owner that it should not have", () => {
    for (const { path, type, mode, uid, gid, modifiedAt } of image.entries) {
      expect(modifiedAt.getTime(), path).toBe(0);
      expect(["File", "Directory", "SymbolicLink", "Link"], path).toContain(type);
      const isApps = path === "home/app" || path === "tmp/backup";
      expect({ path, uid, gid }).toEqual({ path, uid: isApps ? 1000 : 0, gid: 0 });
      if (type === "SymbolicLink") continue;
      expect(mode & 0o6000, `${path} is setuid or setgid`).toBe(0);
      const mayAnybodyWrite = (mode & 0o002) !== 0;
      expect(mayAnybodyWrite && mode !== 0o1777, `${path} can be written to by anybody`).toBe(false);
    }
  });

  test("it has what is documented, and no caches, manuals or package manager", () => {
    const at = (path: string) => join(image.root, path);
    expect(readFileSync(at("etc/passwd"), "utf8")).toContain("\napp:x:1000:1000:app:/home/app:/bin/bash\n");
    expect(readFileSync(at("etc/os-release"), "utf8")).toContain("VERSION_CODENAME=bookworm");
    const certificates = readFileSync(at("etc/ssl/certs/ca-certificates.crt"), "utf8").match(/BEGIN CERTIFICATE/g);
    expect(certificates?.length).toBeGreaterThan(100);
    expect(statSync(at("usr/local/bin/backup")).ino).toBe(statSync(at("usr/local/bin/kubectl-kaa_backup")).ino);
    for (const name of ["usr/share/man", "usr/share/locale", "var/cache", "var/log", "usr/bin/dpkg", "usr/bin/perl"])
      expect(existsSync(at(name)), name).toBe(false);
    const documents = readdirSync(at("usr/share/doc"), { recursive: true, encoding: "utf8" });
    const others = documents.filter(
      (name) =>
        statSync(at(`usr/share/doc/${name}`)).isFile() &&
        !/\/(copyright|(third-|licen[cs]e|notice|copying)[^/]*)$/i.test(name),
    );
    expect(others).toEqual([]);
    const packages = readFileSync(join(root, "image/packages"), "utf8").trim().split("\n");
    for (const name of packages)
      expect(readFileSync(at(`var/lib/dpkg/status.d/${name}`), "utf8")).toMatch(new RegExp(`^Package: ${name}\n`));
  });
});
