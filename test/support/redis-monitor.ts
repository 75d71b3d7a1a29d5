import { Redis } from "ioredis";

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

/** Hears every command of a Redis of one's own: MONITOR slows it, and tells of all who use it. */
export async function monitorRedis(url: string): Promise<RedisMonitor> {
  const redis = new Redis(url);
  const monitor = await redis.monitor();
  const calls: ScriptCall[] = [];
  const counts = new Map<string, number>();
  // Commands of a script come right after its own line: Redis runs one at a time.
  monitor.on("monitor", (_time: string, args: string[], source: string) => {
    const [command = "", name = ""] = args;
    if (source === "lua") return void calls.at(-1)?.commands.push(command.toUpperCase());
    if (command.toUpperCase() !== "FCALL") return;
    const script = name.replace(/^drover_[0-9a-f]+_/, "");
    calls.push({ script, commands: [] });
    counts.set(script, (counts.get(script) ?? 0) + 1);
  });
  return {
    calls,
    count: (script) => counts.get(script) ?? 0,
    stop() {
      monitor.disconnect();
      redis.disconnect();
    },
  };
}
