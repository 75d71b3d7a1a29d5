import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { afterAll } from "vitest";

/** A process of a story: its lines, and the ways it can end. */
export interface StoryProcess {
  readonly pid: number;
  readonly exited: Promise<number | string>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<number | string>;
  signal(name: NodeJS.Signals): void;
}

export interface CoordinatorProcess extends StoryProcess {
  readonly grpc: string;
  readonly http: string;
  /** The last lines of its log, for failures. */
  log(): string;
}

export interface Start {
  readonly taskId: string;
  readonly attempt: number;
  readonly fencingToken: number;
  /** Wall time of the worker's process, which is this machine's. */
  readonly at: number;
}

export interface WorkerProcess extends StoryProcess {
  readonly starts: Start[];
  readonly ended: Set<string>;
  /** Resolves to the first start that fits, seen already or to come. */
  started(fits: (start: Start) => boolean): Promise<Start>;
}

const children = new Set<ChildProcess>();

afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

function launch(args: readonly string[], env: Record<string, string>): ChildProcess {
  if (!existsSync("dist/main.js"))
    throw new Error("stories run the build: call `make build` first");
  const clean = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "" };
  const child = spawn(process.execPath, args, { env: { ...clean, ...env } });
  children.add(child);
  child.once("exit", () => children.delete(child));
  return child;
}

function asStoryProcess(child: ChildProcess): StoryProcess {
  const exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | string);
  return {
    pid: child.pid!,
    exited,
    kill: async () => {
      child.kill("SIGKILL");
      await exited;
    },
    stop: async () => {
      child.kill("SIGTERM");
      return exited;
    },
    signal: (name) => void child.kill(name),
  };
}

/** `drover serve` on free ports (or those given), up when it says so. */
export async function startCoordinator(
  env: Record<string, string>,
  flags: readonly string[] = [],
): Promise<CoordinatorProcess> {
  const ports = { PORT: "0", GRPC_PORT: "0" };
  const child = launch(["dist/main.js", "serve", ...flags], { ...ports, ...env });
  const lines: string[] = [];
  const up = new Promise<{ grpcPort: number; httpPort: number }>((resolve, reject) => {
    createInterface({ input: child.stderr! }).on("line", (line) => {
      lines.push(line);
      if (lines.length > 200) lines.shift();
      if (line.includes('"server.started"')) {
        resolve(JSON.parse(line) as { grpcPort: number; httpPort: number });
      }
    });
    child.once("exit", (code) => {
      reject(new Error(`the coordinator ended with ${code}:\n${lines.join("\n")}`));
    });
  });
  child.stdout!.resume();
  const { grpcPort, httpPort } = await up;
  return {
    ...asStoryProcess(child),
    grpc: `127.0.0.1:${grpcPort}`,
    http: `http://127.0.0.1:${httpPort}`,
    log: () => lines.join("\n"),
  };
}

/** test/support/story-worker.ts in a process of its own, up when a coordinator has welcomed it. */
export async function startWorker(
  addresses: readonly string[],
  env: Record<string, string> = {},
): Promise<WorkerProcess> {
  const child = launch(["--import", "tsx", "test/support/story-worker.ts"], {
    DROVER_ADDR: addresses.join(","),
    ...env,
  });
  const starts: Start[] = [];
  const ended = new Set<string>();
  const waiting = new Set<(start: Start) => void>();
  const errors: string[] = [];
  createInterface({ input: child.stderr! }).on("line", (line) => errors.push(line));
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const [word, taskId = "", attempt, fencing, at] = line.split(" ");
      if (word === "ready") resolve();
      if (word === "end") ended.add(taskId);
      if (word !== "start") return;
      const start = {
        taskId,
        attempt: Number(attempt),
        fencingToken: Number(fencing),
        at: Number(at),
      };
      starts.push(start);
      for (const tell of waiting) tell(start);
    });
    child.once("exit", (code) => {
      reject(new Error(`the worker ended with ${code}:\n${errors.slice(-20).join("\n")}`));
    });
  });
  return {
    ...asStoryProcess(child),
    starts,
    ended,
    started: (fits) => {
      const found = starts.find(fits);
      if (found) return Promise.resolve(found);
      return new Promise((resolve) => {
        const tell = (start: Start): void => {
          if (!fits(start)) return;
          waiting.delete(tell);
          resolve(start);
        };
        waiting.add(tell);
      });
    },
  };
}
