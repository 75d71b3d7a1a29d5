import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import {
  exitOf,
  type Guarded,
  lastLinesOf,
  spawnGuarded,
} from "../../src/history/postgres/guarded.js";

/** Longest wait for a program that was asked to end. */
const endMs = 12_000;

/** What a program has written, line by line. */
export class Lines {
  readonly all: string[] = [];
  readonly #waiting = new Set<() => void>();
  #ended = false;

  constructor(child: ChildProcess, from: "stdout" | "stderr") {
    createInterface({ input: child[from]! })
      .on("line", (line) => {
        this.all.push(line);
        this.#tell();
      })
      .on("close", () => {
        this.#ended = true;
        this.#tell();
      });
  }

  /** The first line that fits, written already or to come; undefined if the program ends first. */
  async find(pattern: RegExp): Promise<string | undefined> {
    for (let at = 0; ; at += 1) {
      while (at >= this.all.length && !this.#ended) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
      const line = this.all[at];
      if (line === undefined || pattern.test(line)) return line;
    }
  }

  #tell(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

export interface Part {
  readonly out: Lines;
  /** Asks it to end (SIGINT), and kills it if it does not. */
  stop(): Promise<number | string>;
  kill(): Promise<void>;
  /** The last it wrote, for failures. */
  lastLines(): string;
}

export interface Coordinator extends Part {
  readonly address: string;
  readonly port: number;
}

/** `drover serve`; the port is a free one if it is 0. */
export async function startCoordinator(
  env: Record<string, string>,
  port: number,
): Promise<Coordinator> {
  const args = ["dist/main.js", "serve", "--port", "0", "--grpc-port", String(port)];
  const server = startGuarded([process.execPath, ...args], env, "stderr");
  const line = await server.out.find(/"server\.started"/);
  if (line === undefined) throw new Error(`no coordinator: ${server.lastLines()}`);
  const { grpcPort } = JSON.parse(line) as { grpcPort: number };
  return { ...server, port: grpcPort, address: `127.0.0.1:${grpcPort}` };
}

/** Only what `env` says reaches the program. It cannot outlive this process. */
export function startGuarded(
  command: readonly string[],
  env: Record<string, string>,
  from: "stdout" | "stderr" = "stdout",
): Part {
  const settings = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const guarded = spawnGuarded("env", ["-i", ...settings, ...command], { cwd: process.cwd() });
  const kill = async () => {
    guarded.signal("SIGKILL");
    await guarded.exited;
  };
  return {
    out: new Lines(guarded.child, from),
    stop: () => ended(guarded, kill),
    kill,
    lastLines: () => guarded.lastLines(),
  };
}

async function ended(guarded: Guarded, kill: () => Promise<void>): Promise<number | string> {
  guarded.end();
  const late = setTimeout(() => void kill(), endMs);
  const how = await guarded.exited;
  clearTimeout(late);
  return how;
}

export interface Conversation extends Part {
  readonly exited: Promise<number | string>;
  say(line: string): void;
}

/** A program that is talked with: it ends by itself when it finds nobody to talk to. */
export function startTalking(
  command: readonly [string, ...string[]],
  env: Record<string, string>,
): Conversation {
  const child = spawn(command[0], command.slice(1), { env });
  const exited = exitOf(child);
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    return exited;
  };
  return {
    exited,
    out: new Lines(child, "stdout"),
    say: (line) => void child.stdin.write(`${line}\n`),
    stop: () => end("SIGTERM"),
    kill: async () => void (await end("SIGKILL")),
    lastLines: lastLinesOf(child),
  };
}
