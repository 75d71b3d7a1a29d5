import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

/** Files below a folder, sorted, by relative path. */
const filesOf = (folder: string, wanted: (name: string) => boolean) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && wanted(entry.name))
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .toSorted();

test("a build holds a module and its types for every source, and every other file as it is", async () => {
  const out = mkdtempSync(path.join(tmpdir(), "drover-build-"));
  onTestFinished(() => rmSync(out, { recursive: true }));
  await promisify(execFile)("node_modules/.bin/tsx", [".ci/scripts/build.ts", "--out", out]);
  const sources = filesOf("src", (name) => name.endsWith(".ts"));
  const assets = filesOf("src", (name) => !name.endsWith(".ts"));
  const built = filesOf(out, (name) => !name.endsWith(".map"));
  const expected = sources.flatMap((file) => [
    file.replace(/\.ts$/, ".js"),
    file.replace(/\.ts$/, ".d.ts"),
  ]);
  expect(built).toEqual([...expected, ...assets].toSorted());
});
