import { asynq } from "./asynq.js";
import { beanstalkd } from "./beanstalkd.js";
import { beeQueue } from "./bee-queue.js";
import { bullmq } from "./bullmq.js";
import { celery } from "./celery.js";
import { drover } from "./drover.js";
import { graphileWorker } from "./graphile-worker.js";
import { nats } from "./nats.js";
import { pgBoss } from "./pg-boss.js";
import { rabbitmq, rabbitmqQuorum } from "./rabbitmq.js";
import { sidekiq } from "./sidekiq.js";
import type { System } from "./system.js";

/** All that can be measured, in the order of the table. */
export const systems: readonly System[] = [
  drover,
  bullmq,
  nats,
  graphileWorker,
  beeQueue,
  beanstalkd,
  pgBoss,
  rabbitmq,
  rabbitmqQuorum,
  sidekiq,
  celery,
  asynq,
];

/** Measured without asking for more: the peers of the ratios. */
export const quickSystems: readonly System[] = [drover, bullmq, nats, graphileWorker];

export function systemNamed(name: string): System {
  const found = systems.find((system) => system.name === name);
  if (found) return found;
  const names = systems.map((system) => system.name).join(", ");
  throw new Error(`system: expected one of ${names}, got ${JSON.stringify(name)}`);
}
