import { Redis } from "ioredis";
import { startRedis } from "../test/support/servers.js";

/** Durable to one second, and refusing rather than forgetting: the same for every system. */
const settings = ["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"];

export interface BenchRedis {
  readonly url: string;
  readonly pid: number;
  readonly version: string;
  readonly connection: Redis;
  /** Bytes in use, without the buffers of clients and of the AOF. */
  bytes(): Promise<number>;
  stop(): Promise<void>;
}

/** A Redis for one system alone. */
export async function startBenchRedis(dir: string): Promise<BenchRedis> {
  const server = await startRedis({ appendonly: true, dir, args: settings });
  const connection = new Redis(server.url);
  const info = async (section: string): Promise<Map<string, string>> => {
    const lines = (await connection.info(section)).split("\r\n");
    return new Map(lines.map((line) => line.split(":", 2) as [string, string]));
  };
  const about = await info("server");
  return {
    url: server.url,
    pid: Number(about.get("process_id")),
    version: about.get("redis_version") ?? "unknown",
    connection,
    async bytes() {
      const memory = await info("memory");
      const of = (name: string): number => Number(memory.get(name) ?? 0);
      return of("used_memory") - of("mem_clients_normal") - of("mem_aof_buffer");
    },
    async stop() {
      connection.disconnect();
      await server.stop();
    },
  };
}
