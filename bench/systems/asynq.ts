import { existsSync } from "node:fs";
import * as path from "node:path";
import { queueName, serveRedis } from "./peers.js";
import type { System } from "./system.js";

/** Where `make bench-peers` builds it. */
const program = path.resolve(".cache/bench/asynq-ends");

/** Asynq as its README sets it up. */
export const asynq: System = {
  name: "asynq",
  settings:
    "Go; a goroutine for each submit under way, as many work as tasks may run; a finished task " +
    "is deleted; polls each second while it is empty (its default); it has no bulk submit",
  durabilities: ["relaxed"],
  singleShare: 0.2,
  bulkShare: 0.2,

  program() {
    if (!existsSync(program)) throw new Error("asynq is not installed (make bench-peers)");
    return { command: program, args: [queueName] };
  },

  serve: ({ dir }) =>
    serveRedis(dir, async (redis) => {
      const key = (state: string): string => `asynq:{${queueName}}:${state}`;
      const lists = (await redis.llen(key("pending"))) + (await redis.llen(key("active")));
      const sets = ["scheduled", "retry", "archived"].map((state) => redis.zcard(key(state)));
      return (await Promise.all(sets)).reduce((sum, count) => sum + count, lists);
    }),
};
