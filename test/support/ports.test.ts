import { once } from "node:events";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { keptPort } from "./ports.js";

test("a port is given once, below those that systems give, and never while it is used", async () => {
  const ports = [await keptPort(), await keptPort()];
  const next = ports[1]! + 1;
  const server = createServer().listen(next);
  // It may be used already.
  await Promise.race([once(server, "listening"), once(server, "error")]);
  ports.push(next, await keptPort());
  server.close();
  expect(new Set(ports).size).toBe(4);
  expect(Math.max(...ports) + 10_000).toBeLessThan(32_768);
});
