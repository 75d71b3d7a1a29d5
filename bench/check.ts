/**
 * `make bench-check`: measures the hot paths beside a peer and fails when they have become slower
 * than the figures kept in bench/results/latest.json.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { regressions } from "./regressions.js";
import type { Results } from "./report.js";

const tolerance = 0.25;
const here = path.dirname(fileURLToPath(import.meta.url));
const read = (dir: string): Results =>
  JSON.parse(readFileSync(path.join(dir, "results/latest.json"), "utf8")) as Results;

const kept = read(here);
const dir = mkdtempSync(path.join(tmpdir(), "drover-bench-check-"));
try {
  const asked = ["--systems", "drover,bullmq", "--durabilities", "relaxed", "--out", dir];
  const run = path.join(here, "run.ts");
  execFileSync(process.execPath, ["--import", "tsx", run, ...asked], { stdio: "inherit" });
  const worse = regressions(kept, read(dir), tolerance);
  for (const { ratio, kept: before, best } of worse) {
    console.error(`${ratio}: ${best.toFixed(2)} at best, ${before.toFixed(2)} was kept`);
  }
  console.log(worse.length === 0 ? "no hot path is slower than the kept figures" : "slower");
  process.exitCode = worse.length === 0 ? 0 : 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
