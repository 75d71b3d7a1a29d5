import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { afterAll } from "vitest";
import { keptPort } from "./ports.js";
import { createTranscript, type Transcript } from "./transcript.js";

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

/** One line of a coordinator's log: `msg` names the event, `time` is this machine's. */
export interface LogLine {
  readonly time: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface CoordinatorProcess extends StoryProcess {
  readonly id: string;
  readonly grpc: string;
  readonly http: string;
  readonly events: Transcript<LogLine>;
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

/** What the worker SDK logged. */
export interface WorkerLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** When it arrived here. */
  readonly at: number;
}

export interface WorkerProcess extends StoryProcess {
  readonly name: string;
  readonly starts: Start[];
  /** Tasks whose handler returned. */
  readonly ended: Set<string>;
  readonly lines: Transcript<WorkerLine>;
  /** Resolves to the first start that fits, seen already or to come within `ms`. */
  started(fits: (start: Start) => boolean, ms?: number): Promise<Start>;
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

/** `drover serve` on free ports (or those given), up when it says so; it may come back on them. */
export async function startCoordinator(
  env: Record<string, string>,
  flags: readonly string[] = [],
): Promise<CoordinatorProcess> {
  const ports = { PORT: "0", GRPC_PORT: String(await keptPort()) };
  const child = launch(["dist/main.js", "serve", ...flags], { ...ports, ...env });
  const lines: string[] = [];
  const events = createTranscript<LogLine>((line) => JSON.stringify(line));
  createInterface({ input: child.stderr! }).on("line", (line) => {
    lines.push(line);
    if (lines.length > 200) lines.shift();
    if (line.startsWith("{")) events.add(JSON.parse(line) as LogLine);
  });
  child.stdout!.resume();
  const early = once(child, "exit").then(([code]) => {
    throw new Error(`the coordinator ended with ${code as number}:\n${lines.join("\n")}`);
  });
  const up = events.next("server.started", ({ msg }) => msg === "server.started");
  const { grpcPort, httpPort, coordinatorId } = await Promise.race([up, early]);
  early.catch(() => undefined);
  return {
    ...asStoryProcess(child),
    id: coordinatorId as string,
    grpc: `127.0.0.1:${grpcPort as number}`,
    http: `http://127.0.0.1:${httpPort as number}`,
    events,
    log: () => lines.join("\n"),
  };
}

const readStart = ([, taskId = "", attempt, fencing, at]: readonly string[]): Start => ({
  taskId,
  attempt: Number(attempt),
  fencingToken: Number(fencing),
  at: Number(at),
});

function readLine(line: string): WorkerLine {
  const [level = "", message = "", fields = {}, at = 0] = JSON.parse(line.slice(4)) as [
    string?,
    string?,
    Record<string, unknown>?,
    number?,
  ];
  return { level, message, fields, at };
}

/** test/support/story-worker.ts in a process of its own, up when a coordinator has welcomed it. */
export async function startWorker(
  addresses: readonly string[],
  env: Record<string, string> = {},
): Promise<WorkerProcess> {
  const child = launch(["dist/test/story-worker.js"], {
    DROVER_ADDR: addresses.join(","),
    ...env,
  });
  const starts = createTranscript<Start>((start) => JSON.stringify(start));
  const lines = createTranscript<WorkerLine>((line) => JSON.stringify(line));
  const ended = new Set<string>();
  const errors: string[] = [];
  createInterface({ input: child.stderr! }).on("line", (line) => errors.push(line));
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on("line", (line) => {
      const words = line.split(" ");
      if (words[0] === "ready") resolve();
      else if (words[0] === "end") ended.add(words[1]!);
      else if (words[0] === "start") starts.add(readStart(words));
      else if (words[0] === "log") lines.add(readLine(line));
    });
    child.once("exit", (code) => {
      reject(new Error(`the worker ended with ${code}:\n${errors.slice(-20).join("\n")}`));
    });
  });
  return {
    ...asStoryProcess(child),
    name: env.WORKER_ID ?? String(child.pid),
    starts: starts.all,
    ended,
    lines,
    started: (fits, ms) => starts.next("start", fits, ms),
  };
}
