import type { ServerResponse } from "node:http";
import type { Clock, Timer } from "../clock.js";
import type { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { toDroverError } from "./interceptors/errors.js";
import { errorReply, type EventReply, type Reply } from "./rest/errors.js";

export interface EventStreamOptions {
  readonly clock: Clock;
  /** Answers a request that ended before its first event. */
  readonly reply: (reply: Reply) => void;
}

/** A refusal comes at once; after this long without one the stream begins. */
const firstEventMs = 250;
/** Proxies close what is silent. */
const heartbeatMs = 15_000;
/** How soon a browser comes back. */
const retryMs = 1_000;
/** Where an end says that it may be soon. */
const retryFirstMs = 100;

/** Server-Sent Events: each text is written as it comes, as fast as the peer takes it. */
export async function sendEvents(
  response: ServerResponse,
  { events, resumed }: EventReply,
  { clock, reply }: EventStreamOptions,
): Promise<void> {
  const iterator = events[Symbol.asyncIterator]();
  let next = iterator.next();
  try {
    const first = await Promise.race([next, clock.sleep(firstEventMs)]);
    // Whatever was missed is told already: a browser that hears 204 does not come again.
    if (first?.done && resumed) return reply({ status: 204, body: "" });
  } catch (thrown) {
    return reply(errorReply(toDroverError(thrown)));
  }
  begin(response);
  const beats = heartbeats(response, clock);
  try {
    for (let event = await next; !event.done; event = await next) {
      await write(response, event.value, clock);
      if (response.destroyed) return;
      beats.wrote();
      next = iterator.next();
    }
    response.end("event: end\ndata: {}\n\n");
  } catch (thrown) {
    if (!response.destroyed) response.end(errorText(toDroverError(thrown)));
  } finally {
    beats.stop();
    await iterator.return?.();
  }
}

/** The ids before it stand: whoever comes back goes on after the last one. */
function errorText(error: DroverError): string {
  const waitMs = Math.max(retryFirstMs, error.retryAfterMs ?? retryMs);
  return `event: error\nretry: ${waitMs}\ndata: ${errorReply(error).body}\n\n`;
}

function begin(response: ServerResponse): void {
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    // Some proxies gather answers otherwise.
    "x-accel-buffering": "no",
  });
  response.write(`retry: ${retryMs}\n\n`);
}

function heartbeats(response: ServerResponse, clock: Clock) {
  let timer: Timer;
  const start = (): void => {
    timer = clock.after(heartbeatMs, () => {
      if (!response.writableNeedDrain) response.write(":\n\n");
      start();
    });
  };
  start();
  return {
    wrote() {
      timer.cancel();
      start();
    },
    stop: () => timer.cancel(),
  };
}

/** A peer that does not read for 30 s is cut off; it comes back with its last cursor. */
async function write(response: ServerResponse, text: string, clock: Clock): Promise<void> {
  if (response.destroyed || response.write(text)) return;
  await new Promise<void>((resolve) => {
    const timer = clock.after(limits.watchStalledMs, () => response.destroy());
    const done = (): void => {
      timer.cancel();
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
  });
}
