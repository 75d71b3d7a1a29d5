/**
 * `make bench-check`: measures the hot paths beside a peer and fails when they have become slower
 * than the figures kept in bench/results/latest.json. Flags go on to bench/run.ts.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { cpuRegressions, regressions } from "./regressions.js";
import type { Results } from "./report.js";

const tolerance = 0.25;
const peer = "bullmq";
/** Load of the minute before, up to which times count. */
const quietLoad = 0.5;
const here = path.dirname(fileURLToPath(import.meta.url));
const read = (dir: string): Results =>
  JSON.parse(readFileSync(path.join(dir, "results/latest.json"), "utf8")) as Results;
const isQuiet = ({ machine }: Results): boolean => Number(machine.load_before) <= quietLoad;

const kept = read(here);
const dir = mkdtempSync(path.join(tmpdir(), "drover-bench-check-"));
try {
  const asked = ["--systems", `drover,${peer}`, "--durabilities", "relaxed", "--out", dir];
  const program = ["--import", "tsx", path.join(here, "run.ts")];
  const args = [...program, ...asked, ...process.argv.slice(2)];
  execFileSync(process.execPath, args, { stdio: "inherit" });
  const run = read(dir);
  const timed = isQuiet(kept) && isQuiet(run);
  if (!timed) console.log("judged by CPU alone: one of the two machines was not quiet");
  const worse = [
    ...cpuRegressions(kept, run, peer, tolerance),
    ...(timed ? regressions(kept, run, tolerance) : []),
  ];
  for (const { ratio, kept: before, best } of worse) {
    console.error(`${ratio}: ${best.toFixed(2)} at best, ${before.toFixed(2)} was kept`);
  }
  console.log(worse.length === 0 ? "no hot path is slower than the kept figures" : "slower");
  process.exitCode = worse.length === 0 ? 0 : 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
