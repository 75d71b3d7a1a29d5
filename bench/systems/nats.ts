import { mkdirSync } from "node:fs";
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
import type { Payload, System } from "./system.js";

interface Connection {
  close(): Promise<void>;
}
interface Message {
  json(): Payload;
  ack(): void;
}
interface Messages extends AsyncIterable<Message> {
  close(): Promise<unknown>;
}
interface JetStream {
  publish(subject: string, data: string): Promise<unknown>;
  consumers: {
    get(
      stream: string,
      consumer: string,
    ): Promise<{
      consume(options: object): Promise<Messages>;
    }>;
  };
}
interface Manager {
  streams: {
    add(config: object): Promise<unknown>;
    info(stream: string): Promise<{ state: { messages: number } }>;
  };
  consumers: { add(stream: string, config: object): Promise<unknown> };
}
interface Nats {
  connect(options: object): Promise<Connection>;
}
interface NatsStreams {
  jetstream(connection: Connection): JetStream;
  jetstreamManager(connection: Connection): Promise<Manager>;
}

const connect = async (servers: string | undefined): Promise<Connection> =>
  (await load<Nats>("@nats-io/transport-node")).connect({ servers });
const streams = (): Promise<NatsStreams> => load<NatsStreams>("@nats-io/jetstream");

const windowMessages = 1_000;

/** JetStream as a work queue on file storage. Acks of handlers are sent, not confirmed. */
export const nats: System = {
  name: "nats",
  settings: `JetStream, file storage, work queue, explicit acks, window ${windowMessages}`,
  durabilities: ["relaxed"],

  async serve({ dir }) {
    const program = findServer("nats-server");
    mkdirSync(dir, { recursive: true });
    const port = await freePort();
    const args = ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", dir];
    const server = await startServer(program, args, dir, "Server is ready");
    const url = `127.0.0.1:${port}`;
    const connection = await connect(url);
    const manager = await (await streams()).jetstreamManager(connection);
    await manager.streams.add({
      name: queueName,
      subjects: [queueName],
      retention: "workqueue",
      storage: "file",
    });
    await manager.consumers.add(queueName, {
      durable_name: queueName,
      ack_policy: "explicit",
      max_ack_pending: 10 * windowMessages,
    });
    return {
      pids: { broker: server.pid },
      env: { BENCH_NATS: url },
      versions: {},
      settled: nothingLeft,
      redisBytes: noRedisBytes,
      completed: unknownCount,
      live: async () => (await manager.streams.info(queueName)).state.messages,
      async stop() {
        await connection.close();
        await server.stop();
      },
    };
  },

  async produce(env) {
    const connection = await connect(env.BENCH_NATS);
    const stream = (await streams()).jetstream(connection);
    const submit = (payload: Payload): Promise<unknown> =>
      stream.publish(queueName, JSON.stringify(payload));
    return {
      submit,
      submitBulk: (all) => Promise.all(all.map(submit)),
      close: () => connection.close(),
    };
  },

  async work(env, _, hooks) {
    const connection = await connect(env.BENCH_NATS);
    const consumer = await (
      await streams()
    )
      .jetstream(connection)
      .consumers.get(queueName, queueName);
    const messages = await consumer.consume({ max_messages: windowMessages });
    let acked = 0;
    const reading = (async (): Promise<void> => {
      for await (const message of messages) {
        hooks.started(message.json());
        message.ack();
        acked += 1;
      }
    })();
    return {
      acked: () => acked,
      async stop() {
        await messages.close();
        await reading;
        await connection.close();
      },
    };
  },
};
