import { beanstalkd } from "./beanstalkd.js";
import { beeQueue } from "./bee-queue.js";
import { bullmq } from "./bullmq.js";
import { drover } from "./drover.js";
import { graphileWorker } from "./graphile-worker.js";
import { nats } from "./nats.js";
import { pgBoss } from "./pg-boss.js";
import { rabbitmq, rabbitmqQuorum } from "./rabbitmq.js";
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
];

/** Measured without asking for more: the peers of the ratios. */
export const quickSystems: readonly System[] = [drover, bullmq, nats, graphileWorker];

/** Known, and why they are not measured here. */
export const notMeasured: Readonly<Record<string, string>> = {
  celery: "producer and worker are Python: not the same work in the same runtime",
  sidekiq: "producer and worker are Ruby: not the same work in the same runtime",
  asynq: "producer and worker are Go: not the same work in the same runtime",
};

export function systemNamed(name: string): System {
  const found = systems.find((system) => system.name === name);
  if (found) return found;
  const names = systems.map((system) => system.name).join(", ");
  throw new Error(`system: expected one of ${names}, got ${JSON.stringify(name)}`);
}
