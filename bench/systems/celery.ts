import { existsSync } from "node:fs";
import * as path from "node:path";
import { queueName, serveRedis } from "./peers.js";
import type { System } from "./system.js";

const threads = 10;
const program = path.resolve(import.meta.dirname, "../foreign/celery_ends.py");
/** Where `make bench-peers` puts it. */
const python = path.resolve(".cache/bench/celery/bin/python");

/** Celery with acks after the handler, as for tasks that must not be lost. */
export const celery: System = {
  name: "celery",
  settings:
    `Python; Redis as broker, acks_late, results ignored; ${threads} threads submit, a pool of ` +
    `${threads} threads works, prefetch multiplier 10; it has no bulk submit`,
  durabilities: ["relaxed"],
  singleShare: 0.05,
  bulkShare: 0.05,

  program() {
    if (!existsSync(python)) throw new Error("celery is not installed (make bench-peers)");
    return { command: python, args: [program, queueName, String(threads)] };
  },

  serve: ({ dir }) =>
    serveRedis(dir, async (redis) => (await redis.llen(queueName)) + (await redis.hlen("unacked"))),
};
