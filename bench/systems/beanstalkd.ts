import { mkdirSync } from "node:fs";
import { connect } from "node:net";
import { systemClock } from "../../src/clock.js";
import { freePort } from "../../src/history/postgres/embedded.js";
import { findServer, load, noRedisBytes, nothingLeft, startServer, unknownCount } from "./peers.js";
import type { Payload, System } from "./system.js";

interface Client {
  connect(options: { host: string; port: number }): Promise<unknown>;
  put(payload: object): Promise<string>;
  reserveWithTimeout(seconds: number): Promise<{ id: string; payload: Buffer }>;
  delete(id: string): Promise<void>;
  stats(): Promise<string>;
  quit(): Promise<void>;
}
type Jackd = { default: (new () => Client) | { default: new () => Client } };

const connections = 4;
const startTries = 100;

async function open(port: string | number | undefined): Promise<Client> {
  const { default: found } = await load<Jackd>("jackd");
  const JackdClient = "default" in found ? found.default : found;
  const client = new JackdClient();
  await client.connect({ host: "127.0.0.1", port: Number(port) });
  return client;
}

/** It says nothing when it is ready. */
async function untilItListens(port: number): Promise<void> {
  for (let tries = 0; tries < startTries; tries += 1) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
    if (open) return;
    await systemClock.sleep(50);
  }
  throw new Error("beanstalkd did not start");
}

/** beanstalkd with its write-ahead log, synced every 50 ms (its default). */
export const beanstalkd: System = {
  name: "beanstalkd",
  settings: `write-ahead log (-f 50), ${connections} connections reserve and delete`,
  durabilities: ["relaxed"],

  async serve({ dir }) {
    const program = findServer("beanstalkd");
    mkdirSync(dir, { recursive: true });
    const port = await freePort();
    const args = ["-l", "127.0.0.1", "-p", String(port), "-b", dir];
    const server = await startServer(program, args, dir, undefined);
    await untilItListens(port);
    const client = await open(port);
    return {
      pids: { broker: server.pid },
      env: { BENCH_BEANSTALKD: String(port) },
      versions: {},
      settled: nothingLeft,
      redisBytes: noRedisBytes,
      completed: unknownCount,
      async live() {
        const stats = await client.stats();
        const count = (name: string): number =>
          Number(new RegExp(`current-jobs-${name}: (\\d+)`).exec(stats)?.[1] ?? 0);
        return count("ready") + count("reserved") + count("delayed") + count("buried");
      },
      async stop() {
        await client.quit();
        await server.stop();
      },
    };
  },

  async produce(env) {
    const clients = await Promise.all(
      Array.from({ length: connections }, () => open(env.BENCH_BEANSTALKD)),
    );
    let turn = 0;
    const submit = (payload: Payload): Promise<unknown> => {
      turn = (turn + 1) % connections;
      return clients[turn]!.put(payload);
    };
    return {
      submit,
      submitBulk: (all) => Promise.all(all.map(submit)),
      async close() {
        for (const client of clients) await client.quit();
      },
    };
  },

  async work(env, _, hooks) {
    let ended = false;
    let acked = 0;
    const loop = async (): Promise<void> => {
      const client = await open(env.BENCH_BEANSTALKD);
      while (!ended) {
        const task = await client.reserveWithTimeout(1).catch(() => undefined);
        if (!task) continue;
        hooks.started(JSON.parse(task.payload.toString()) as Payload);
        await client.delete(task.id);
        acked += 1;
      }
      await client.quit();
    };
    const loops = Array.from({ length: connections }, loop);
    return {
      acked: () => acked,
      async stop() {
        ended = true;
        await Promise.all(loops);
      },
    };
  },
};
