import { existsSync, mkdirSync } from "node:fs";
import * as path from "node:path";
import { freePort } from "../../src/history/postgres/embedded.js";
import {
  findServer,
  load,
  noRedisBytes,
  nothingLeft,
  queueName,
  startServer,
  unknownCount,
} from "./peers.js";
import type { Durability, Payload, Producer, Servers, System, Work, WorkHooks } from "./system.js";

interface Message {
  readonly content: Buffer;
}
interface Channel {
  assertQueue(name: string, options: object): Promise<unknown>;
  checkQueue(name: string): Promise<{ messageCount: number }>;
  prefetch(messages: number): Promise<unknown>;
  consume(name: string, take: (message: Message | null) => void): Promise<unknown>;
  ack(message: Message): void;
  close(): Promise<void>;
}
interface ConfirmChannel extends Channel {
  sendToQueue(
    name: string,
    content: Buffer,
    options: object,
    confirmed: (error: unknown) => void,
  ): boolean;
}
interface Connection {
  createChannel(): Promise<Channel>;
  createConfirmChannel(): Promise<ConfirmChannel>;
  close(): Promise<void>;
}
interface Amqp {
  connect(url: string): Promise<Connection>;
}

/** Debian's wrapper of that name wants to be another user; this is what it starts. */
const program = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const prefetch = 1_000;

const connect = async (url: string | undefined): Promise<Connection> => {
  const found = await load<Amqp & { default?: Amqp }>("amqplib");
  return (found.default ?? found).connect(String(url));
};

/** The names of its nodes: a daemon it would start by itself, and leave behind for good. */
async function startNames(dir: string) {
  const port = await freePort();
  const args = ["-port", String(port), "-address", "127.0.0.1"];
  return { port, server: await startServer(findServer("epmd"), args, dir, undefined) };
}

async function startBroker(dir: string, namesPort: number) {
  const [port, distribution] = [await freePort(), await freePort()];
  const settings: Record<string, string> = {
    PATH: process.env.PATH ?? "",
    HOME: dir,
    ERL_EPMD_PORT: String(namesPort),
    RABBITMQ_NODENAME: `bench-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_MNESIA_BASE: path.join(dir, "data"),
    RABBITMQ_LOG_BASE: path.join(dir, "log"),
    RABBITMQ_LOGS: "-",
    RABBITMQ_ENABLED_PLUGINS_FILE: path.join(dir, "no-plugins"),
    RABBITMQ_CONFIG_FILE: path.join(dir, "no-settings"),
    RABBITMQ_CONF_ENV_FILE: path.join(dir, "no-environment"),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
      "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
  };
  const given = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const args = ["-i", ...given, program];
  const ready = "Server startup complete";
  return { port, server: await startServer("/usr/bin/env", args, dir, ready) };
}

async function serve(dir: string): Promise<Servers> {
  if (!existsSync(program)) findServer("rabbitmq-server");
  mkdirSync(dir, { recursive: true });
  const names = await startNames(dir);
  const broker = await startBroker(dir, names.port).catch(async (error: unknown) => {
    await names.server.stop();
    throw error;
  });
  const url = `amqp://127.0.0.1:${broker.port}`;
  const connection = await connect(url);
  const channel = await connection.createChannel();
  return {
    pids: { broker: broker.server.pid },
    env: { BENCH_AMQP: url },
    versions: {},
    settled: nothingLeft,
    redisBytes: noRedisBytes,
    completed: unknownCount,
    live: async () => (await channel.checkQueue(queueName)).messageCount,
    async stop() {
      await connection.close();
      await broker.server.stop();
      await names.server.stop();
    },
  };
}

async function produce(url: string | undefined, options: object): Promise<Producer> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queueName, options);
  const submit = (payload: Payload): Promise<void> =>
    new Promise((resolve, reject) => {
      const content = Buffer.from(JSON.stringify(payload));
      channel.sendToQueue(queueName, content, { persistent: true }, (error) =>
        error ? reject(error as Error) : resolve(),
      );
    });
  return {
    submit,
    submitBulk: (all) => Promise.all(all.map(submit)),
    close: () => connection.close(),
  };
}

async function work(url: string | undefined, options: object, hooks: WorkHooks): Promise<Work> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  await channel.assertQueue(queueName, options);
  await channel.prefetch(prefetch);
  let acked = 0;
  await channel.consume(queueName, (message) => {
    if (!message) return;
    hooks.started(JSON.parse(message.content.toString()) as Payload);
    channel.ack(message);
    acked += 1;
  });
  return {
    acked: () => acked,
    async stop() {
      await channel.close();
      await connection.close();
    },
  };
}

const common = `persistent messages, publisher confirms, manual acks, prefetch ${prefetch}`;

function rabbitmqOf(
  name: string,
  kind: string,
  durability: Durability,
  more: { settings: string; queue: object },
): System {
  const options = { durable: true, arguments: { "x-queue-type": kind, ...more.queue } };
  return {
    name,
    settings: `one node, ${kind} queue, ${common}; ${more.settings}`,
    durabilities: [durability],
    serve: ({ dir }) => serve(dir),
    produce: (env) => produce(env.BENCH_AMQP, options),
    work: (env, _, hooks) => work(env.BENCH_AMQP, options, hooks),
  };
}

/** A confirm comes once the message is written. */
export const rabbitmq = rabbitmqOf("rabbitmq", "classic", "relaxed", {
  settings: "confirmed once written",
  queue: {},
});

/** A confirm comes once the log of a majority, here of one, is synced to disk. */
export const rabbitmqQuorum = rabbitmqOf("rabbitmq-quorum", "quorum", "durable", {
  settings: "confirmed once its log is synced",
  queue: { "x-quorum-initial-group-size": 1 },
});
