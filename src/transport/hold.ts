import { MessageChannel, type MessagePort } from "node:worker_threads";

/**
 * Keeps the process alive while an SDK owes an answer or runs as a worker. Timers of the clock
 * never do, and between two connections there is no socket that would: without this a worker
 * waiting to dial again would exit silently.
 */
export interface Hold {
  take(): void;
  release(): void;
}

/** One for all: a producer that submits one task at a time takes and releases it with each. */
let port: MessagePort | undefined;
let holders = 0;

export function createHold(): Hold {
  let taken = false;
  return {
    take() {
      if (taken) return;
      taken = true;
      holders += 1;
      if (holders > 1) return;
      port ??= new MessageChannel().port1;
      port.ref();
    },
    release() {
      if (!taken) return;
      taken = false;
      holders -= 1;
      if (holders === 0) port?.unref();
    },
  };
}
