import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";

/** A call of one of Drover's scripts, and the commands that it ran inside Redis. */
export interface ScriptCall {
  readonly script: string;
  readonly commands: string[];
}

export interface RedisMonitor {
  /** In the order of Redis; grows. */
  readonly calls: readonly ScriptCall[];
  count(script: string): number;
  stop(): void;
}

/** Time, database and source, the command, and its first argument. */
const line = /^\+[\d.]+ \[\d+ (\S+)\] "(\w+)"(?: "(\w+)")?/;

/**
 * Hears every command of a Redis of one's own: MONITOR slows it, and tells of all who use it. Over
 * a plain socket, as the client library takes what comes along with the answer for answers.
 */
export async function monitorRedis(url: string): Promise<RedisMonitor> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const calls: ScriptCall[] = [];
  const counts = new Map<string, number>();
  const lines = createInterface({ input: socket });
  // Commands of a script come right after its own line: Redis runs one at a time.
  lines.on("line", (text) => {
    const [, source, command = "", name = ""] = line.exec(text) ?? [];
    if (source === "lua") calls.at(-1)?.commands.push(command.toUpperCase());
    if (source === "lua" || command.toUpperCase() !== "FCALL") return;
    const script = name.replace(/^drover_[0-9a-f]+_/, "");
    calls.push({ script, commands: [] });
    counts.set(script, (counts.get(script) ?? 0) + 1);
  });
  socket.write("MONITOR\r\n");
  await once(lines, "line");
  return {
    calls,
    count: (script) => counts.get(script) ?? 0,
    stop: () => socket.destroy(),
  };
}
