/**
 * A worker process for stories. Says on standard output, one line each, what its handlers do:
 * `start ID ATTEMPT FENCING TIME`, `end ID`. Types: `noop` ends at once, `sleep` after payload.ms,
 * `hang` only when it is aborted, `spin` blocks the event loop for payload.ms.
 */
import { createWorker, type HandlerContext } from "drover/worker";

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const none = (): void => undefined;
const worker = createWorker({ logger: { debug: none, info: none, warn: none, error: none } });

worker.use(async (_payload, { taskId, attempt, fencingToken }, next) => {
  say(`start ${taskId} ${attempt} ${fencingToken} ${Date.now()}`);
  const result = await next();
  say(`end ${taskId}`);
  return result;
});
const millis = (payload: unknown): number => (payload as { ms: number }).ms;

function rest(ms: number, { signal }: HandlerContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = Number.isFinite(ms) ? setTimeout(resolve, ms) : undefined;
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    });
  });
}

worker.handle("noop", (payload) => payload);
worker.handle("sleep", async (payload, context) => {
  await rest(millis(payload), context);
  return { slept: millis(payload) };
});
worker.handle("hang", (_payload, context) => rest(Infinity, context));
worker.handle("spin", (payload) => {
  const endsAt = Date.now() + millis(payload);
  while (Date.now() < endsAt) JSON.parse("{}");
  return { spun: millis(payload) };
});
await worker.start();
say("ready");
await worker.run();
