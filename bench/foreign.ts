import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Child } from "./child.js";
import type { Answer, Command, Reply } from "./protocol.js";

/** A producer or worker in another language. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
}

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

const defaultLimitMs = 120_000;
const endLimitMs = 10_000;
const keptBytes = 2_048;

/**
 * Starts a program that takes what protocol.ts names as lines of JSON on its input, answers with
 * lines of JSON, and ends with its input, so with this process.
 */
export async function startForeign(
  { command, args }: Program,
  env: Readonly<Record<string, string>>,
): Promise<Child<Command, Answer>> {
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const waiting = new Map<number, Waiting>();
  let asked = 0;
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said = (said + String(chunk)).slice(-keptBytes)));
  child.stdin.on("error", () => undefined);
  const fail = (error: Error): void => {
    for (const one of waiting.values()) one.reject(error);
    waiting.clear();
  };
  const ready = new Promise<Answer>((resolve, reject) => waiting.set(0, { resolve, reject }));
  child.once("error", (error) => fail(error));
  child.once("exit", (code, signal) =>
    fail(new Error(`${command} ended with ${code ?? signal}:\n${said}`)),
  );
  createInterface({ input: child.stdout }).on("line", (line) => {
    // Some libraries greet people on the same output.
    if (!line.startsWith("{")) return;
    const { id, answer, error } = JSON.parse(line) as Reply;
    const waits = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waits?.resolve(answer);
    else waits?.reject(new Error(`${command}: ${error}\n${said}`));
  });
  await ready;

  function ask(order: Command, limitMs = defaultLimitMs): Promise<Answer> {
    asked += 1;
    const id = asked;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(new Error(`${command}: ${order.do} took over ${limitMs} ms\n${said}`));
      }, limitMs);
      waiting.set(id, {
        resolve: (answer) => (clearTimeout(timer), resolve(answer)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
      child.stdin.write(`${JSON.stringify({ id, command: order })}\n`);
    });
  }
  return {
    pid: child.pid!,
    ask,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      await ask({ do: "end" }, endLimitMs).catch(() => child.kill("SIGKILL"));
      child.stdin.end();
      await exited;
    },
  };
}
