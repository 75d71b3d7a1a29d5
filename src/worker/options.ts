import { hostname } from "node:os";

import type { Client } from "../client/index.js";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.js";
import { limits } from "../limits.js";
import { parseAddresses } from "../transport/addresses.js";
import type { ChannelCredentials, Headers } from "../transport/channel.js";
import { type Names, refuseUnknown } from "../transport/unknown-names.js";
import { checkName } from "./handler.js";
import { type Logger, stderrLogger } from "./logger.js";

export interface WorkerOptions {
  /** Coordinators, host:port. Default: the comma list in DROVER_ADDR, else localhost:50051. */
  address?: string | readonly string[];
  /**
   * For people; need not be unique. Default: WORKER_ID, else host-pid. 1 to 128 of
   * [A-Za-z0-9._-].
   */
  workerId?: string;
  /** Tasks run at once. Default: WORKER_CONCURRENCY, else 10. 1 to 10,000. */
  concurrency?: number;
  /** Where handlers that name no queue take tasks from. Default `["default"]`. */
  queues?: readonly string[];
  /** Compared with the required labels of tasks. At most 32. */
  labels?: Readonly<Record<string, string>>;
  /** Submits what handlers give to `context.submit`. The caller closes it. Default: none. */
  client?: Pick<Client, "submit">;
  /** Default: lines on stderr from `info` up. */
  logger?: Logger;
  /** Default: plain text. */
  credentials?: ChannelCredentials;
  /** Sent with every stream, e.g. `{ authorization: "Bearer ..." }`. */
  headers?: Headers;
  clock?: Clock;
  random?: Random;
}

export interface WorkerSettings {
  readonly addresses: readonly string[];
  readonly workerId: string;
  readonly concurrency: number;
  readonly queues: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly logger: Logger;
  readonly client: Pick<Client, "submit"> | undefined;
  readonly credentials: ChannelCredentials | undefined;
  readonly headers: Headers | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

const known: Names<WorkerOptions> = {
  address: true,
  workerId: true,
  concurrency: true,
  queues: true,
  labels: true,
  client: true,
  logger: true,
  credentials: true,
  headers: true,
  clock: true,
  random: true,
};

const defaultConcurrency = 10;

/** Options and environment as one, checked. Throws a TypeError that names what is wrong. */
export function resolveWorkerOptions(options: WorkerOptions): WorkerSettings {
  refuseUnknown("createWorker", options, known);
  const queues = options.queues ?? ["default"];
  for (const queue of queues) checkName("queues", queue);
  const labels = options.labels ?? {};
  const entries = Object.entries(labels);
  if (entries.length > limits.labels) {
    throw new TypeError(`labels: expected at most ${limits.labels}, got ${entries.length}`);
  }
  for (const [name, value] of entries) {
    checkName("name of a label", name);
    checkName(`label ${name}`, value);
  }
  return {
    addresses: parseAddresses(options.address),
    workerId: checkName("workerId", options.workerId ?? (process.env["WORKER_ID"] || hostAndPid())),
    concurrency: concurrencyOf(options.concurrency ?? process.env["WORKER_CONCURRENCY"]),
    queues,
    labels,
    logger: options.logger ?? stderrLogger,
    client: options.client,
    credentials: options.credentials,
    headers: options.headers,
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
  };
}

function concurrencyOf(given: number | string | undefined): number {
  if (given === undefined || given === "") return defaultConcurrency;
  const concurrency = Number(given);
  if (Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= limits.slotsMax) {
    return concurrency;
  }
  throw new TypeError(
    `concurrency: expected an integer of 1 to ${limits.slotsMax}, got ${JSON.stringify(given)}; ` +
      "give the option concurrency or set WORKER_CONCURRENCY",
  );
}

function hostAndPid(): string {
  const suffix = `-${process.pid}`;
  const host = hostname().replaceAll(/[^A-Za-z0-9._-]/g, "-");
  return (host || "worker").slice(0, limits.nameLength - suffix.length) + suffix;
}
