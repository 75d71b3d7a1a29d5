import { Redis } from "ioredis";
import { Client } from "pg";
import { expect, test } from "vitest";
import {
  freshPrefix,
  freshSchema,
  ownPostgres,
  ownRedis,
  sharedPostgres,
  sharedRedis,
} from "./stores.js";

test("the shared Redis answers, and is the same for all who ask", async () => {
  const [one, two] = await Promise.all([sharedRedis(), sharedRedis()]);
  expect(one.url).toBe(two.url);
  const redis = new Redis(one.url);
  const prefix = freshPrefix();
  await redis.set(`${prefix}:key`, "value");
  expect(await redis.get(`${prefix}:key`)).toBe("value");
  redis.disconnect();
});

test("the shared Postgres answers, and schemas keep tests apart", async () => {
  const client = new Client((await sharedPostgres()).url);
  await client.connect();
  const schema = freshSchema();
  await client.query(`CREATE SCHEMA ${schema}`);
  await client.query(`CREATE TABLE ${schema}.t (n int)`);
  expect((await client.query(`SELECT count(*)::int AS n FROM ${schema}.t`)).rows).toEqual([
    { n: 0 },
  ]);
  await client.end();
});

test("an own Redis with an append-only file keeps its data over a kill and a restart", async () => {
  const server = await ownRedis({ appendonly: true, args: ["--appendfsync", "always"] });
  const before = new Redis(server.url);
  await before.set("kept", "yes");
  before.disconnect();
  await server.kill();
  await server.restart();
  const after = new Redis(server.url);
  expect(await after.get("kept")).toBe("yes");
  after.disconnect();
});

test("an own Postgres keeps its rows over a kill and a restart on the same port", async () => {
  const server = await ownPostgres();
  const { port } = server;
  const before = new Client(server.url);
  before.on("error", () => undefined);
  await before.connect();
  await before.query("CREATE TABLE kept AS SELECT 1 AS n");
  await server.kill();
  await server.restart();
  expect(server.port).toBe(port);
  const after = new Client(server.url);
  await after.connect();
  expect((await after.query("SELECT n FROM kept")).rows).toEqual([{ n: 1 }]);
  await after.end();
});

test("a frozen Redis holds its connections and answers once it thaws", async () => {
  const server = await ownRedis();
  const redis = new Redis(server.url);
  await redis.ping();
  server.freeze();
  const answer = redis.ping();
  server.thaw();
  expect(await answer).toBe("PONG");
  redis.disconnect();
});
