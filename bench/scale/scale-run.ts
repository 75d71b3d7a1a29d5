import type { ScaleRow, Verdict } from "./report.js";

export interface ScaleOptions {
  /** Folder for the data of its servers. */
  readonly dir: string;
  readonly quick: boolean;
  /** Of backlog: tasks that wait. */
  readonly backlog: number | undefined;
  readonly say: (text: string) => void;
}

export interface ScaleFindings {
  /** The loads and counts it ran with. */
  readonly settings: string;
  readonly rows: readonly ScaleRow[];
  readonly verdicts: readonly Verdict[];
}

/** One question of scale: a file of its own beside this one, and its place in run.ts. */
export interface ScaleRun {
  readonly name: string;
  /** What it asks, in a sentence. */
  readonly about: string;
  run(options: ScaleOptions): Promise<ScaleFindings>;
}
