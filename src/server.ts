import { createSequence, type Service } from "./service.js";
import { createGrpcDoor } from "./api/grpc.js";
import { createHttpDoor } from "./api/http.js";
import { decodePayload } from "./api/payload.js";
import { openAccess } from "./auth/open.js";
import type { Broker } from "./broker/broker.js";
import { createMemoryBroker } from "./broker/memory-broker.js";
import { createRedisBroker } from "./broker/redis/redis-broker.js";
import { systemClock, systemRandom } from "./clock.js";
import { type Config, isLoopback, redisUrlsOf } from "./config.js";
import { createCoordinator } from "./coordinator/create-coordinator.js";
import { DroverError } from "./errors.js";
import type { History } from "./history/history.js";
import { createMemoryHistory } from "./history/memory-history.js";
import { createPostgresHistory } from "./history/postgres/postgres-history.js";
import { createBatchKeeper } from "./maintenance/batch-keeper.js";
import { createMaintenance } from "./maintenance/maintenance.js";
import { createScheduler } from "./maintenance/scheduler.js";
import { HistoryRecorder } from "./maintenance/recorder.js";
import { uuidText } from "./task/uuid.js";
import { createEvents, type Events } from "./telemetry/events.js";
import { createLogger, type Logger } from "./telemetry/log.js";
import { createTelemetry } from "./telemetry/telemetry.js";

/** A coordinator in this process, whole: stores, decisions, doors. */
export interface Server {
  readonly coordinatorId: string;
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly events: Events;
  /** Rejects if a store cannot be reached or a port is taken; nothing is left running then. */
  start(): Promise<void>;
  /** Readiness off, GoAway to workers, drain, flush, close. May be repeated. */
  stop(reason: string): Promise<void>;
}

export interface ServerParts {
  /** Replaces the one that the settings name, e.g. to share a memory store. */
  readonly broker?: Broker;
  readonly history?: History;
  readonly logger?: Logger;
}

/** The composition root: the only place that names concrete parts. */
export function createServer(config: Config, given: ServerParts = {}): Server {
  const clock = systemClock;
  const random = systemRandom;
  const logger =
    given.logger ?? createLogger({ level: config.log_level, format: config.log_format });
  const events = createEvents();
  const coordinatorId = uuidText(random.bytes(16));
  const broker = given.broker ?? brokerOf(config, events, logger);
  const history = given.history ?? historyOf(config, events);
  const recorder = new HistoryRecorder({ broker, history, events, clock, random });
  const parts = { coordinatorId, broker, history, recorder, events, clock };
  const telemetry = createTelemetry({ ...parts, logger });
  const { coordinator, desk, ticks, batches } = createCoordinator({
    ...parts,
    carrier: telemetry.carrier,
    random,
    decodePayload,
  });
  recorder.onEnded = (task) => batches.ended(task);
  const maintenance = createMaintenance({ broker, history, desk, recorder, events, clock, random });
  const onInternal = (error: unknown) => logger.error({ err: error }, "internal error");
  const common = { coordinator, authenticate: openAccess, host: config.host, clock, onInternal };
  const grpc = createGrpcDoor({ ...common, port: config.grpc_port });
  const http = createHttpDoor({ ...common, port: config.http_port, others: [telemetry.page] });
  const services = createSequence(
    [
      telemetry,
      { start: () => history.start().catch(tellToMend), stop: () => history.stop() },
      claimed(history, config.partitions),
      { start: () => broker.start(), stop: () => broker.stop() },
      maintenance,
      { start: () => coordinator.start(), stop: () => coordinator.stop() },
      createScheduler({ ticks, events, clock }),
      createBatchKeeper({ batches, events, clock }),
      http,
      grpc,
    ],
    (error) => logger.error({ err: error }, "stop failed"),
  );
  let stopping: Promise<void> | undefined;

  async function stop(reason: string): Promise<void> {
    events.emit("server.stopping", { coordinatorId, reason });
    if (services.up) await coordinator.drain();
    await services.stop();
    events.emit("server.stopped", { coordinatorId });
    telemetry.close();
  }

  return {
    coordinatorId,
    get grpcPort() {
      return grpc.port;
    },
    get httpPort() {
      return http.port;
    },
    events,
    async start() {
      if (!isLoopback(config.host)) logger.warn(openWarning(config.host));
      await services.start();
      events.emit("server.started", { coordinatorId, grpcPort: grpc.port, httpPort: http.port });
    },
    stop: (reason) => (stopping ??= stop(reason)),
  };
}

const openWarning = (host: string): string =>
  `listening on ${host} without authentication: ` +
  "whoever reaches this address can submit, read, cancel and run tasks";

function brokerOf(config: Config, events: Events, logger: Logger): Broker {
  const common = { clock: systemClock, random: systemRandom, partitions: config.partitions };
  if (config.broker === "memory") return createMemoryBroker(common);
  return createRedisBroker({
    ...common,
    url: redisUrlsOf(config.redis_url),
    prefix: config.redis_prefix,
    events,
    onWarning: (message) => logger.warn(message),
  });
}

function historyOf(config: Config, events: Events): History {
  if (config.history === "memory") return createMemoryHistory({ clock: systemClock });
  return createPostgresHistory({
    url: config.database_url,
    schema: config.database_schema,
    clock: systemClock,
    events,
  });
}

/** Nobody has asked anything yet: what is to be mended is the start itself. */
function tellToMend(error: unknown): never {
  const { id, message } = DroverError.from(error);
  if (id !== "history_unavailable") throw error;
  const hint = "Start Postgres, or mend database_url.";
  throw new DroverError(id, message, { hint, cause: error });
}

/**
 * The first coordinator of a database fixes the partition count; one with another must not serve.
 */
function claimed(history: History, partitions: number): Service {
  return {
    async start() {
      const fixed = await history.claimPartitions(partitions);
      if (fixed === partitions) return;
      const message = `this database is of ${fixed} partitions, ${partitions} were asked for`;
      throw new DroverError("partition_mismatch", message, { field: "partitions" });
    },
    stop: () => Promise.resolve(),
  };
}
