import type { Clock } from "./clock.js";

/** A part with a life. Both calls may be repeated; stop waits until nothing of it runs any more. */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

export interface LoopOptions {
  name: string;
  clock: Clock;
  /**
   * One round. Returns how many ms to wait before the next; undefined waits `everyMs`, 0 goes on at
   * once.
   */
  run(signal: AbortSignal): Promise<number | undefined>;
  everyMs: number;
  /** Longest pause after failures in a row; they double from `everyMs`. Default 5,000. */
  failureMaxMs?: number;
  onError(error: unknown, loop: string): void;
}

export interface Loop extends Service {
  /** Ends the present pause, so that the next round starts now. */
  poke(): void;
  /** Monotonic ms at which the last round ended well; readiness looks at it. */
  readonly progressAt: number;
}

/** The one skeleton of background work: supervised, stoppable, and never silent about a failure. */
export function createLoop(options: LoopOptions): Loop {
  const { clock, everyMs, failureMaxMs = 5_000 } = options;
  let stopping: AbortController | undefined;
  let pausing: AbortController | undefined;
  let poked = false;
  let running: Promise<void> = Promise.resolve();
  let progressAt = clock.monotonic();

  async function pause(ms: number): Promise<void> {
    if (poked || ms <= 0 || stopping?.signal.aborted) return;
    pausing = new AbortController();
    await clock.sleep(ms, pausing.signal).catch(() => undefined);
    pausing = undefined;
  }

  async function rounds(signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      let waitMs: number;
      poked = false;
      try {
        waitMs = (await options.run(signal)) ?? everyMs;
        progressAt = clock.monotonic();
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        options.onError(error, options.name);
        failures += 1;
        waitMs = Math.min(failureMaxMs, Math.max(1, everyMs) * 2 ** Math.min(failures, 10));
      }
      await pause(waitMs);
    }
  }

  return {
    async start() {
      if (stopping) return;
      stopping = new AbortController();
      running = rounds(stopping.signal);
    },
    async stop() {
      stopping?.abort(new Error(`${options.name} is stopping`));
      pausing?.abort();
      await running;
      stopping = undefined;
    },
    poke() {
      poked = true;
      pausing?.abort();
    },
    get progressAt() {
      return progressAt;
    },
  };
}

/**
 * Several services as one: started in the order given, each once the one before stands; stopped in
 * the reverse order. A start that fails stops what had started, and rejects.
 */
export function createSequence(
  services: readonly Service[],
  onError: (error: unknown) => void,
): Service & { readonly up: boolean } {
  const started: Service[] = [];
  let up = false;
  async function stop(): Promise<void> {
    up = false;
    for (const service of started.splice(0).toReversed()) await service.stop().catch(onError);
  }
  return {
    get up() {
      return up;
    },
    async start() {
      try {
        for (const service of services) {
          started.push(service);
          await service.start();
        }
        up = true;
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}
