/**
 * Real stores for tests. Shared ones serve the whole run: use a fresh prefix or schema in them and
 * never stop, flush, fill or reconfigure them. A test that does any of that starts its own; it is
 * stopped after the file, whatever happens.
 */
import { afterAll, inject } from "vitest";
import { systemRandom } from "../../src/clock.js";
import type { StoreAnswer } from "./global-setup.js";
import {
  type OwnPostgresOptions,
  type OwnRedisOptions,
  type OwnServer,
  startPostgres,
  startRedis,
} from "./servers.js";

export type { OwnServer } from "./servers.js";

const own: OwnServer[] = [];
const prefixes: string[] = [];
const schemas: string[] = [];

/** The Redis of this run: REDIS_URL, or one started by the first test that asks. */
export async function sharedRedis(): Promise<{ url: string }> {
  return { url: (await ask("redis")).url };
}

/** The Postgres of this run: DATABASE_URL, or one started by the first test that asks. */
export async function sharedPostgres(): Promise<{ url: string }> {
  return { url: (await ask("postgres")).url };
}

/** A Redis for one test or file alone. */
export async function ownRedis(options?: OwnRedisOptions): Promise<OwnServer> {
  return ownUntilStopped(await startRedis(options));
}

/** It is stopped after the file. */
export function ownUntilStopped(server: OwnServer): OwnServer {
  own.push(server);
  return server;
}

/** A Postgres for one test or file alone; takes about 2 s. */
export async function ownPostgres(options?: OwnPostgresOptions): Promise<OwnServer> {
  const server = await startPostgres(options);
  own.push(server);
  return server;
}

/**
 * A key prefix nobody else uses, without braces; its keys are deleted after the file where the
 * Redis was given.
 */
export function freshPrefix(): string {
  const prefix = `drover-test-${randomHex()}`;
  prefixes.push(prefix);
  return prefix;
}

/**
 * A schema name nobody else uses; the schema is dropped after the file where the Postgres was
 * given.
 */
export function freshSchema(): string {
  const schema = `drover_test_${randomHex()}`;
  schemas.push(schema);
  return schema;
}

afterAll(async () => {
  await Promise.allSettled(own.splice(0).map((server) => server.stop()));
  if (process.env.REDIS_URL && prefixes.length > 0) await dropPrefixes(process.env.REDIS_URL);
  if (process.env.DATABASE_URL && schemas.length > 0) await dropSchemas(process.env.DATABASE_URL);
}, 60_000);

async function ask(store: "redis" | "postgres"): Promise<{ url: string }> {
  const response = await fetch(`${inject("storesUrl")}/${store}`);
  const { url, error } = (await response.json()) as StoreAnswer;
  if (url === undefined) throw new Error(error);
  return { url };
}

function randomHex(): string {
  return Buffer.from(systemRandom.bytes(6)).toString("hex");
}

async function dropPrefixes(url: string): Promise<void> {
  const { Redis } = await import("ioredis");
  const redis = new Redis(url);
  for (const prefix of prefixes.splice(0)) {
    for await (const keys of redis.scanStream({ match: `*${prefix}*`, count: 1_000 })) {
      if ((keys as string[]).length > 0) await redis.unlink(...(keys as string[]));
    }
  }
  redis.disconnect();
}

async function dropSchemas(url: string): Promise<void> {
  const { Client } = await import("pg");
  const client = new Client(url);
  await client.connect();
  for (const schema of schemas.splice(0))
    await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await client.end();
}
