import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below those that systems give to whoever asks for any, so that nobody is given the port of a
 * server that was killed and comes back. The bus of a Redis Cluster, 10,000 above, is so, too.
 */
const first = 12_000;
const count = 10_000;
/** Test processes that run at the same time begin far from each other. */
const perProcess = 40;

let taken = 0;

/** A free port for a server that keeps it over its restarts. */
export async function keptPort(): Promise<number> {
  for (let tries = 0; tries < count; tries += 1) {
    const port = first + ((process.pid * perProcess + taken) % count);
    taken += 1;
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${first} on is free`);
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port);
  try {
    await once(probe, "listening");
  } catch {
    return false;
  }
  probe.close();
  await once(probe, "close");
  return true;
}
