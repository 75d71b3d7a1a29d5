import { existsSync } from "node:fs";
import * as path from "node:path";
import { findServer, queueName, serveRedis } from "./peers.js";
import type { System } from "./system.js";

const threads = 10;
const program = path.resolve(import.meta.dirname, "../foreign/sidekiq.rb");
const library = "/usr/share/rubygems-integration/all/specifications";

/** Sidekiq as its wiki sets it up. A task that a killed worker ran is lost: no acks. */
export const sidekiq: System = {
  name: "sidekiq",
  settings:
    `Ruby, Debian's package; ${threads} threads submit, ${threads} work; push_bulk for bulk; ` +
    "basic fetch",
  durabilities: ["relaxed"],
  singleShare: 0.2,
  bulkShare: 0.3,

  program() {
    const command = findServer("ruby");
    if (!existsSync(library)) throw new Error("sidekiq is not installed (make bench-peers)");
    return { command, args: [program, queueName, String(threads)] };
  },

  serve: ({ dir }) =>
    serveRedis(dir, async (redis) => {
      const waiting = await redis.llen(`queue:${queueName}`);
      return waiting + (await redis.zcard("retry")) + (await redis.zcard("schedule"));
    }),
};
