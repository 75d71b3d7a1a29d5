/** `make capacity`: writes the tables of docs/capacity.md anew from bench/results. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { capacityBlocks, fillBlocks } from "./capacity.js";
import type { Results } from "./report.js";
import type { ScaleResults } from "./scale/report.js";

const here = import.meta.dirname;
const page = path.resolve(here, "../docs/capacity.md");

const read = <T>(name: string): T =>
  JSON.parse(readFileSync(path.join(here, "results", name), "utf8")) as T;

/** What the page is once its tables say what bench/results says. */
export function currentPage(): { written: string; expected: string } {
  const blocks = capacityBlocks(read<Results>("latest.json"), read<ScaleResults>("scale.json"));
  const written = readFileSync(page, "utf8");
  return { written, expected: fillBlocks(written, blocks) };
}

/** Only where results go to bench/ itself: others are nobody's page. */
export function refreshCapacityPage(out: string): void {
  if (path.resolve(out) !== here || !existsSync(page)) return;
  writeFileSync(page, currentPage().expected);
}

if (process.argv[1] === import.meta.filename) refreshCapacityPage(here);
