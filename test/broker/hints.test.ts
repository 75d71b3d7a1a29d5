import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Redis } from "ioredis";
import { expect, it, onTestFinished } from "vitest";
import type { Hint } from "../../src/broker/broker.js";
import { createConnection } from "../../src/broker/redis/connection.js";
import { createHints } from "../../src/broker/redis/hints.js";
import { hintChannel } from "../../src/broker/redis/keys.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { freshPrefix, sharedRedis } from "../support/stores.js";

/** Passes connections on to Redis, until it falls silent to those it has, and hangs up on none. */
async function relayTo(url: string): Promise<{ url: string; silence(): void }> {
  const { hostname, port } = new URL(url);
  const sockets: Socket[] = [];
  const server = createServer((theirs) => {
    const redis = connect(Number(port), hostname);
    for (const socket of [theirs, redis]) {
      socket.on("error", () => undefined);
      sockets.push(socket);
    }
    theirs.pipe(redis).pipe(theirs);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const silence = (): void => {
    for (const socket of sockets.splice(0)) socket.unpipe().pause();
  };
  return { url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`, silence };
}

it("are heard again once the Redis they came from was silently replaced", async () => {
  const { url } = await sharedRedis();
  const relay = await relayTo(url);
  const prefix = freshPrefix();
  const connection = createConnection({
    url: relay.url,
    clock: systemClock,
    random: systemRandom,
    onWarning: () => undefined,
  });
  const node = { address: "only", connection } as unknown as ReturnType<
    Parameters<typeof createHints>[0]["any"]
  >;
  const hints = createHints({ any: () => node }, prefix);
  const redis = new Redis(url);
  onTestFinished(async () => {
    hints.stop();
    await connection.stop();
    redis.disconnect();
  });
  const heard: Hint[] = [];
  hints.listen((hint) => heard.push(hint));
  const gaps = (): number => heard.filter(({ kind }) => kind === "gap").length;
  hints.start();
  await connection.start();
  await expect.poll(gaps, { timeout: 5_000 }).toBe(1);
  relay.silence();
  const again = new Promise<void>((resolve) => connection.onReady(resolve));
  await expect(connection.send("PING", [])).rejects.toMatchObject({ id: "broker_unavailable" });
  await again;
  await expect.poll(gaps, { timeout: 5_000 }).toBe(2);
  await redis.publish(hintChannel(prefix), "qnobody");
  await expect.poll(() => heard.at(-1)?.kind, { timeout: 5_000 }).toBe("queue");
}, 20_000);
