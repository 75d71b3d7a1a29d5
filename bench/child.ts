import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { lastLinesOf } from "../src/history/postgres/guarded.js";
import type { Reply } from "./protocol.js";

/** A process that does what it is asked over IPC: a producer, a worker. */
export interface Child<Command, Answer> {
  readonly pid: number;
  /** Rejects when the process ends, refuses, or takes longer than `limitMs`. */
  ask(command: Command, limitMs?: number): Promise<Answer>;
  stop(): Promise<void>;
}

export interface ChildOptions {
  /** File beside this one, and what it is told. */
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly profile?: string | undefined;
}

/** What every program of a child understands. */
interface Ordered {
  readonly do: string;
}

interface Waiting<Answer> {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

const defaultLimitMs = 120_000;
const endLimitMs = 10_000;

/** Starts a program that understands `{ do: "end" }`; it ends with this process. */
export async function startChild<Command extends Ordered, Answer>(
  options: ChildOptions,
): Promise<Child<Command, Answer>> {
  const { program, args, env, profile } = options;
  const name = [program, ...args].join(" ");
  const profiling = profile === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profile];
  const child = fork(fileURLToPath(new URL(program, import.meta.url)), args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    execArgv: ["--import", "tsx", ...profiling],
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  const said = lastLinesOf(child);
  const waiting = new Map<number, Waiting<Answer>>();
  let asked = 0;
  const exited = once(child, "exit");
  const ready = new Promise<Answer>((resolve, reject) => waiting.set(0, { resolve, reject }));
  child.on("message", ({ id, answer, error }: Reply<Answer>) => {
    const waits = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waits?.resolve(answer as Answer);
    else waits?.reject(new Error(`${name}: ${error}\n${said()}`));
  });
  child.once("exit", (code, signal) => {
    const error = new Error(`a process of ${name} ended with ${code ?? signal}:\n${said()}`);
    for (const one of waiting.values()) one.reject(error);
  });
  await ready;

  function ask(command: Ordered, limitMs = defaultLimitMs): Promise<Answer> {
    asked += 1;
    const id = asked;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`${name}: ${command.do} took over ${limitMs} ms\n${said()}`));
      }, limitMs);
      const settle = <T>(then: (value: T) => void) => {
        return (value: T): void => {
          clearTimeout(timer);
          then(value);
        };
      };
      waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      child.send({ id, command });
    });
  }
  return {
    pid: child.pid!,
    ask,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      await ask({ do: "end" }, endLimitMs).catch(() => child.kill("SIGKILL"));
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}
