import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as path from "node:path";
import { afterAll } from "vitest";

/** A run of the built `drover`, with all it said. */
export interface BinRun {
  readonly child: ChildProcess;
  readonly exited: Promise<number | string>;
  output(): string;
  /** Resolves when the output holds the text; rejects if the process ends before. */
  says(text: string): Promise<void>;
}

const running = new Set<ChildProcess>();

afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
});

export const builtBin = path.resolve("dist/main.js");

/** Starts the build with an environment of its own. */
export function runBin(
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; bin?: string } = {},
): BinRun {
  const home = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "" };
  const env = { ...home, PORT: "0", GRPC_PORT: "0", ...options.env };
  const child = spawn(process.execPath, [options.bin ?? builtBin, ...args], {
    env,
    cwd: options.cwd,
  });
  running.add(child);
  let output = "";
  const listeners = new Set<() => void>();
  const hear = (chunk: Buffer): void => {
    output += chunk.toString("utf8");
    for (const tell of listeners) tell();
  };
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  const exited = once(child, "close").then(([code, signal]) => {
    running.delete(child);
    for (const tell of listeners) tell();
    return (code ?? signal) as number | string;
  });
  return {
    child,
    exited,
    output: () => output,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const ended = !running.has(child);
          if (!output.includes(text) && !ended) return;
          listeners.delete(look);
          if (output.includes(text)) resolve();
          else reject(new Error(`it ended without saying "${text}":\n${output}`));
        };
        listeners.add(look);
        look();
      }),
  };
}
