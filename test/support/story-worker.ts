/**
 * A worker process for stories. Says on standard output, one line each, what its handlers do:
 * `start ID ATTEMPT FENCING TIME`, `end ID`, and what the SDK logs: `log [LEVEL, MESSAGE, FIELDS,
 * TIME]`. Types: `noop` ends at once, `sleep` after payload.ms, `hang` only when it is aborted,
 * `once` hangs at the first attempt and ends at once at others, `stubborn` ends after payload.ms
 * though it is aborted, `tell` logs and progresses payload.steps times over payload.ms, failing its
 * first attempt in the middle, `spin` blocks the event loop for payload.ms at the first attempt,
 * `follow` submits a `hang` of its own and ends with its id,
 * `fails` fails with the code payload.fail, if there is one; with STORY_MENDED=1 only with
 * `bad_payload`.
 * STORY_QUEUES: queues to take tasks from, a comma list.
 */
import { createClient } from "drover/client";
import { createWorker, TaskFailedError, type Handler, type HandlerContext } from "drover/worker";

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const log = (level: string) => (fields: object, message: string) =>
  say(`log ${JSON.stringify([level, message, fields, Date.now()])}`);
const logger = {
  debug: log("debug"),
  info: log("info"),
  warn: log("warn"),
  error: log("error"),
};
const queues = process.env["STORY_QUEUES"]?.split(",") ?? ["default"];
const client = createClient();
const worker = createWorker({ logger, queues, client });

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

const handlers: Record<string, Handler> = {
  noop: (payload) => payload,
  sleep: async (payload, context) => {
    await rest(millis(payload), context);
    return { slept: millis(payload) };
  },
  hang: (_payload, context) => rest(Infinity, context),
  once: async (payload, context) => {
    if (context.attempt === 1) await rest(Infinity, context);
    return payload;
  },
  tell: async (payload, context) => {
    const { steps } = payload as { steps: number };
    const from = (context.lastCheckpoint as number | undefined) ?? 0;
    for (let step = from + 1; step <= steps; step += 1) {
      context.log("info", `step ${step}`, { attempt: context.attempt });
      context.progress(step / steps, `step ${step}`);
      await context.checkpoint(step);
      await rest(millis(payload) / steps, context);
      if (context.attempt === 1 && step >= steps / 2) throw new Error("half way");
    }
    return { steps };
  },
  follow: async (_payload, context) => (await context.submit("hang", {})).id,
  stubborn: (payload) => new Promise((resolve) => setTimeout(resolve, millis(payload), payload)),
  fails: (payload) => {
    const { fail: code } = payload as { fail?: string };
    const mended = process.env["STORY_MENDED"] === "1" && code !== "bad_payload";
    if (code !== undefined && !mended) throw new TaskFailedError(`it is ${code}`, { code });
    return payload;
  },
  spin: (payload, { attempt }) => {
    const ms = attempt === 1 ? millis(payload) : 0;
    const endsAt = Date.now() + ms;
    while (Date.now() < endsAt) JSON.parse("{}");
    return { spun: ms };
  },
};
for (const [type, handler] of Object.entries(handlers)) worker.handle(type, handler);
await worker.start();
say("ready");
await worker.run();
await client.close();
