import { once } from "node:events";
import { parentPort, workerData } from "node:worker_threads";
import { exitCodeOf, explain } from "./cli/exit.js";
import type { Config } from "./config.js";
import { createServer } from "./server.js";

/* The thread that `serve` starts: a coordinator until it is told the name of a signal. */

const port = parentPort!;
const told = once(port, "message");
try {
  const server = createServer(workerData as Config);
  await server.start();
  const [signal] = (await told) as [string];
  await server.stop(signal);
} catch (error) {
  process.stderr.write(`${explain(error)}\n`);
  process.exitCode = exitCodeOf(error);
} finally {
  // Nothing else keeps the thread then.
  port.close();
}
