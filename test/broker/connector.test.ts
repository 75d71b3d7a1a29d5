import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.js";
import { createConnection } from "../../src/broker/redis/connection.js";
import { PlainConnector } from "../../src/broker/redis/connector.js";
import { sharedRedis } from "../support/stores.js";

let server: Server;
let port: number;
/** What a test dialed, to be hung up. */
let stop: () => unknown;

beforeEach(async () => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  ({ port } = server.address() as AddressInfo);
});

afterEach(async () => {
  await stop();
  server.close();
});

async function dial(): Promise<{ redis: Socket; ours: Socket; heard: Buffer[] }> {
  const accepted = once(server, "connection");
  const connector = new PlainConnector({ host: "127.0.0.1", port, family: 4 });
  const ours = await connector.connect();
  stop = () => ours.destroy();
  const heard: Buffer[] = [];
  ours.on("data", (chunk: Buffer) => heard.push(chunk));
  return { redis: ((await accepted) as [Socket])[0], ours, heard };
}

it("gives bytes that stay as they came", async () => {
  const { redis, ours, heard } = await dial();
  for (const text of ["first", "later"]) {
    const came = once(ours, "data");
    redis.write(text);
    await came;
  }
  expect(heard.map(String)).toEqual(["first", "later"]);
});

it("gives all of what is larger than it reads at once, and says when the other side ends", async () => {
  const { redis, ours, heard } = await dial();
  const large = Buffer.alloc(1_000_000, "abcdefg");
  redis.end(large);
  await once(ours, "close");
  expect(Buffer.concat(heard).equals(large)).toBe(true);
});

it("hangs up", async () => {
  const accepted = once(server, "connection");
  const connector = new PlainConnector({ host: "127.0.0.1", port, family: 4 });
  const ours = await connector.connect();
  stop = () => ours.destroy();
  const [redis] = (await accepted) as [Socket];
  const ended = once(redis.resume(), "end");
  connector.disconnect();
  await ended;
});

it.each([
  ["redis", "*"],
  ["rediss", "\x16"],
])("%s:// begins as it should", async (scheme, first) => {
  const accepted = once(server, "connection");
  const connection = createConnection({
    url: `${scheme}://127.0.0.1:${port}`,
    clock: systemClock,
    random: systemRandom,
    onWarning: () => undefined,
  });
  stop = () => connection.stop();
  void connection.start();
  const [redis] = (await accepted) as [Socket];
  const [chunk] = (await once(redis, "data")) as [Buffer];
  expect(chunk.toString("latin1", 0, 1)).toBe(first);
  redis.destroy();
});

// As one that froze, and was replaced where nobody hangs up for it.
it("dials anew where one takes the call and says nothing", async () => {
  const { hostname, port: redisPort } = new URL((await sharedRedis()).url);
  let dialed = 0;
  server.on("connection", (theirs: Socket) => {
    dialed += 1;
    if (dialed <= 2) return;
    const redis = connect(Number(redisPort), hostname);
    theirs.pipe(redis).pipe(theirs);
    theirs.on("error", () => redis.destroy());
    redis.on("error", () => theirs.destroy());
  });
  const connection = createConnection({
    url: `redis://127.0.0.1:${port}`,
    clock: systemClock,
    random: systemRandom,
    onWarning: () => undefined,
  });
  const beside = connection.dedicated();
  stop = async () => {
    beside.disconnect();
    await connection.stop();
  };
  const available = new Promise<void>((resolve) => connection.onReady(resolve));
  const ready = once(beside, "ready");
  void connection.start();
  void beside.connect().catch(() => undefined);
  await Promise.all([available, ready]);
  expect(connection.available).toBe(true);
}, 15_000);
