import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Clock } from "../clock.js";

/** How busy this process is, for the people who look at ListWorkers. */
export interface Vitals {
  /**
   * Since the last call: share of one core used, and the 99th percentile of the event loop's
   * delay in ms.
   */
  read(): { readonly cpu: number; readonly eventLoopDelayMs: number };
  stop(): void;
}

const resolutionMs = 20;

export function watchVitals(clock: Clock): Vitals {
  const delays = monitorEventLoopDelay({ resolution: resolutionMs });
  delays.enable();
  let usage = process.cpuUsage();
  let readAt = clock.monotonic();
  return {
    read() {
      const spent = process.cpuUsage(usage);
      const elapsedMs = clock.monotonic() - readAt;
      // The histogram holds the whole distance between two looks, the pause it asked for included.
      const delayMs = delays.count > 0 ? delays.percentile(99) / 1e6 - resolutionMs : 0;
      usage = process.cpuUsage();
      readAt = clock.monotonic();
      delays.reset();
      const cpu = elapsedMs > 0 ? (spent.user + spent.system) / 1000 / elapsedMs : 0;
      return { cpu, eventLoopDelayMs: Math.max(0, delayMs) };
    },
    stop: () => void delays.disable(),
  };
}
