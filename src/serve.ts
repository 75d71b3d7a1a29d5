import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import type { Config } from "./config.js";
import { untilSignal } from "./signals.js";

/** Of each of the two halves that V8 makes the young in, of which one is in use. */
const youngMb = 64;

/**
 * A coordinator until a signal, in a thread of its own: how much room there is for the young can be
 * said of a thread that is yet to start, not of one that runs. Resolves with the exit code. What
 * nobody catches there ends the process, as if there were one thread.
 */
export function serve(config: Config): Promise<number> {
  collectForBursts();
  const thread = new Worker(new URL("./serve-thread.js", import.meta.url), { workerData: config });
  // Heard from the very first line of the log on: whoever reads "started" may ask for the end.
  void untilSignal().then((signal) => thread.postMessage(signal));
  thread.on("error", (error) => {
    throw error;
  });
  return new Promise((resolve) => thread.on("exit", resolve));
}

/**
 * How V8 collects what the tasks of a coordinator leave behind.
 *
 * By how many of the first objects of a place in the code outlive a collection V8 decides, for
 * good, whether all of them are made among the old, where only a full collection frees them. Those
 * of the first calls of a process do outlive it, and nearly all tasks after them would not.
 *
 * How much may grow old before a full collection V8 decides by the speed of late: after a few idle
 * seconds it is a few MB, which a burst of tasks fills every 150 ms, at half of the coordinator's
 * CPU. Four times what was alive is what V8 itself allows at most, and a busy coordinator gets.
 *
 * The young it collects when 16 MB of them are there, at most; which is every 2,500 tasks, and
 * those under way are copied each time, and are old after the second. With four times the room, and
 * from the start instead of after some bursts, nearly all are over by then.
 *
 * It takes as many threads for that as there are cores. Of two they take from Redis and the workers
 * what they save here: with one thread the last percent of tasks starts 0.84 as late under load.
 */
function collectForBursts(): void {
  setFlagsFromString("--no-allocation-site-pretenuring");
  setFlagsFromString("--heap-growing-percent=300");
  setFlagsFromString(`--min-semi-space-size=${youngMb}`);
  setFlagsFromString(`--max-semi-space-size=${youngMb}`);
  if (availableParallelism() <= 2) setFlagsFromString("--no-parallel-scavenge");
}
