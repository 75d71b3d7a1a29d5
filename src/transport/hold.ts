import { MessageChannel } from "node:worker_threads";

/**
 * Keeps the process alive while an SDK owes an answer or runs as a worker. Timers of the clock
 * never do, and between two connections there is no socket that would: without this a worker
 * waiting to dial again would exit silently.
 */
export interface Hold {
  take(): void;
  release(): void;
}

export function createHold(): Hold {
  let channel: InstanceType<typeof MessageChannel> | undefined;
  return {
    take() {
      if (channel) return;
      channel = new MessageChannel();
      channel.port1.ref();
    },
    release() {
      channel?.port1.close();
      channel = undefined;
    },
  };
}
