/** A load process of a scale run: does what run.ts asks over IPC, and ends with it. */
import { systemClock } from "../../src/clock.js";
import { callUnary } from "./h2-calls.js";
import { nothingSeen, type Order, type Seen } from "./orders.js";
import { now } from "./stamp.js";
import { openStreams } from "./streams.js";
import { closeClients, pace, submitBulk } from "./submits.js";
import { type Crew, startWorkers } from "./works.js";

let crew: Crew | undefined;

/** Looks only once every handler has started, so that waiting costs the measured time nothing. */
async function until(starts: number): Promise<Seen> {
  if (!crew) throw new Error("there is no worker");
  while (crew.tally.starts < starts) await systemClock.sleep(2);
  while (crew.tally.starts - crew.open() < starts) await systemClock.sleep(1);
  return crew.tally.seen();
}

/** Starts within so many ms from now, by worker too. */
async function during(ms: number): Promise<Seen> {
  if (!crew) throw new Error("there is no worker");
  const startedAt = now();
  const before = crew.tally.seen();
  await systemClock.sleep(ms);
  const after = crew.tally.seen();
  const byWorker = after.byWorker.map((count, n) => count - before.byWorker[n]!);
  return { ...after, count: after.count - before.count, startedAt, byWorker };
}

async function rest(): Promise<Seen> {
  await crew?.stop();
  const seen = crew?.tally.seen() ?? nothingSeen;
  crew = undefined;
  return seen;
}

async function obey(order: Order): Promise<Seen> {
  switch (order.do) {
    case "bulk":
      return submitBulk(order);
    case "pace":
      return pace(order);
    case "unary":
      return callUnary(order);
    case "work":
      crew = await startWorkers(order);
      return nothingSeen;
    case "streams":
      crew = await openStreams(order);
      return nothingSeen;
    case "until":
      return until(order.starts);
    case "during":
      return during(order.ms);
    case "rest":
      return rest();
    case "end":
      await rest();
      await closeClients();
      return nothingSeen;
  }
}

interface Request {
  readonly id: number;
  readonly command: Order;
}

process.on("disconnect", () => process.exit(0));
process.on("message", ({ id, command }: Request) => {
  obey(command).then(
    (answer) => process.send!({ id, answer }),
    (error: unknown) => process.send!({ id, error: String(error) }),
  );
});
process.send!({ id: 0 });
