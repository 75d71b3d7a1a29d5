import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestProject } from "vitest/node";
import { type OwnServer, removeLeftovers, startPostgres, startRedis } from "./servers.js";

declare module "vitest" {
  export interface ProvidedContext {
    /** Where a test process asks for the stores of the run. */
    storesUrl: string;
  }
}

export interface StoreAnswer {
  url?: string;
  /**
   * true where the store was given by the environment, so that tests clean up behind themselves.
   */
  given?: boolean;
  error?: string;
}

/**
 * One Redis and one Postgres serve a whole run. They start when the first test asks, so that a run
 * of pure tests starts nothing.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await removeLeftovers();
  const started = new Map<string, Promise<OwnServer>>();
  const start = (name: string, how: () => Promise<OwnServer>) => {
    const running = started.get(name) ?? announced(name, how());
    started.set(name, running);
    return running;
  };
  const stores: Record<string, () => Promise<StoreAnswer>> = {
    "/redis": () => answer(process.env.REDIS_URL, () => start("redis", startRedis)),
    "/postgres": () =>
      answer(process.env.DATABASE_URL, () =>
        start("postgres", () => startPostgres({ settings: { max_connections: "300" } })),
      ),
  };
  const server = createServer((request, response) => {
    // A test that computes for seconds does not see that a connection kept for it was closed.
    response.setHeader("connection", "close");
    const store = stores[request.url ?? ""] ?? (async () => ({ error: "no such store" }));
    void store().then((found) => response.end(JSON.stringify(found)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  project.provide("storesUrl", `http://127.0.0.1:${(server.address() as AddressInfo).port}`);

  return async () => {
    server.close();
    server.closeAllConnections();
    const all = await Promise.allSettled(started.values());
    for (const one of all) if (one.status === "fulfilled") await one.value.stop();
  };
}

async function announced(name: string, starting: Promise<OwnServer>): Promise<OwnServer> {
  const server = await starting;
  console.log(`started ${name} on port ${server.port} for this run`);
  return server;
}

async function answer(
  given: string | undefined,
  start: () => Promise<OwnServer>,
): Promise<StoreAnswer> {
  if (given) return { url: given, given: true };
  try {
    const { url } = await start();
    return { url, given: false };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}
