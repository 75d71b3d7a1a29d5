/**
 * Builds dist/: tsc for the sources, then every file it does not know (Lua, SQL) to the same place
 * beside them. `--out DIR` builds the sources elsewhere, for tests.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const at = process.argv.indexOf("--out");
const elsewhere = at > 0 ? process.argv[at + 1] : undefined;
const out = path.resolve(root, elsewhere ?? "dist");

function compile(project: string, outDir: string): void {
  const tsc = path.join(root, "node_modules", ".bin", "tsc");
  execFileSync(tsc, ["-p", project, "--outDir", outDir], { cwd: root, stdio: "inherit" });
}

function copyAssets(from: string, to: string): void {
  for (const entry of readdirSync(path.join(root, from), {
    recursive: true,
    withFileTypes: true,
  })) {
    if (!entry.isFile() || /\.tsx?$/.test(entry.name)) continue;
    const source = path.join(entry.parentPath, entry.name);
    const target = path.join(to, path.relative(path.join(root, from), source));
    mkdirSync(path.dirname(target), { recursive: true });
    cpSync(source, target);
  }
}

rmSync(out, { recursive: true, force: true });
compile("tsconfig.build.json", out);
copyAssets("src", out);
const bin = path.join(out, "main.js");
if (existsSync(bin)) chmodSync(bin, 0o755);

// Examples import Drover by its package name, so they are compiled against the build itself.
if (elsewhere === undefined && existsSync(path.join(root, "examples"))) {
  compile("tsconfig.examples.json", path.join(out, "examples"));
  copyAssets("examples", path.join(out, "examples"));
}

// Programs that tests start as processes of their own; package.json keeps them out of the package.
if (elsewhere === undefined && existsSync(path.join(root, "test"))) {
  compile("tsconfig.programs.json", path.join(out, "test"));
}
