import type { Clock } from "../clock.js";
import type { TickDesk } from "../coordinator/ticker.js";
import { createLoop, type Loop } from "../service.js";
import type { Events } from "../telemetry/events.js";

export interface SchedulerOptions {
  readonly ticks: TickDesk;
  readonly events: Events;
  readonly clock: Clock;
}

const everyMs = 1_000;
/** Long enough for a store that is away, short enough that ticks are not late once it is back. */
const failureMaxMs = 2_000;

/**
 * Minds the time of all schedules: one loop for any number of them, which sleeps until the next
 * tick.
 */
export function createScheduler({ ticks, events, clock }: SchedulerOptions): Loop {
  const loop = createLoop({
    name: "scheduler",
    clock,
    everyMs,
    failureMaxMs,
    onError: (error, name) => events.emit("loop.failed", { loop: name, error }),
    run: () => ticks.takeDue(),
  });
  ticks.onChanged = () => loop.poke();
  return loop;
}
