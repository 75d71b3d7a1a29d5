import type { FinalStatus } from "../task/task.js";
import type { EventCatalog, EventName, Events } from "./events.js";
import { CounterTable, Histogram, type Metric, NameLimit, Reading } from "./metric.js";

const priorities = ["low", "medium", "high", "critical"] as const;
const finals: readonly FinalStatus[] = ["completed", "failed", "cancelled", "expired"];
/** By priority: its name, as the labels have it. */
export const priorityName = (priority: number): string => priorities[priority] ?? "other";

const runBounds = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600,
];
const waitBounds = [0.001, 0.0025, ...runBounds];
const stepBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

type Outbox = Pick<EventCatalog["outbox.seen"], "entries" | "oldestMs">;
type Listeners = { [Name in EventName]?: (fields: EventCatalog[Name]) => void };

/**
 * Figures that follow from the events of this coordinator. An event costs a few additions, looked
 * at or not.
 */
export class EventMetrics {
  readonly #types = new NameLimit();
  readonly #queues = new NameLimit();
  readonly #loops = new NameLimit();
  /** Generation of the latest stream of each session that is here. */
  readonly #sessions = new Map<string, number>();
  readonly #outbox = new Map<number, Outbox>();
  #sessionsLost = 0;
  #rows = 0;

  readonly #submitted = new CounterTable({
    name: "tasks_submitted_total",
    help: "Tasks this coordinator took in; a repeat of a known task is not counted again.",
    row: "type",
    column: { label: "priority", values: priorities },
  });
  readonly #processed = new CounterTable({
    name: "tasks_processed_total",
    help: "Tasks that ended through this coordinator, by final status.",
    row: "type",
    column: { label: "status", values: finals },
  });
  readonly #duration = new Histogram({
    name: "task_duration_seconds",
    help: "Run time of each attempt that completed, failed, timed out or was cancelled.",
    bounds: runBounds,
    label: "type",
  });
  readonly #retries = new CounterTable({
    name: "task_retries_total",
    help: "Retries scheduled after a failure or a timeout of the handler.",
    row: "type",
  });
  readonly #losses = new CounterTable({
    name: "drover_lease_losses_total",
    help: "Leases that ended because their worker's session died.",
    row: "type",
  });
  readonly #queueLatency = new Histogram({
    name: "drover_queue_latency_seconds",
    help: "Wait of each attempt in its queue: from ready to leased.",
    bounds: waitBounds,
    label: "queue",
  });
  readonly #dispatchLatency = new Histogram({
    name: "drover_dispatch_latency_seconds",
    help: "From asking the broker for work to handing each lease to its worker's stream.",
    bounds: stepBounds,
  });
  readonly #flush = new Histogram({
    name: "drover_history_flush_seconds",
    help: "Time of each write of a batch of transitions to history.",
    bounds: stepBounds,
  });
  readonly #refused = new CounterTable({
    name: "drover_results_refused_total",
    help: "Results of workers that were not accepted, by verdict.",
    row: "verdict",
  });
  readonly #failures = new CounterTable({
    name: "drover_loop_failures_total",
    help: "Rounds of background work that failed and were tried again.",
    row: "loop",
  });
  readonly #told = new CounterTable({
    name: "drover_watch_news_total",
    help: "News told to watches and waits, by what brought it to mind.",
    row: "by",
  });
  readonly #ticks = new CounterTable({
    name: "drover_schedule_ticks_total",
    help: "Ticks of schedules that this coordinator dealt with, by what became of them.",
    row: "outcome",
  });
  readonly #tickLateness = new Histogram({
    name: "drover_schedule_lateness_seconds",
    help: "From when a tick was due to the commit of its task; ticks that waited are left out.",
    bounds: waitBounds,
  });
  readonly #workers = new Reading(
    "workers_active",
    "Worker sessions whose stream is on this coordinator; sum over coordinators.",
    "gauge",
    () => this.#sessions.size,
  );

  readonly #on: Listeners = {
    "task.submitted": ({ type, priority }) =>
      this.#submitted.add(this.#types.admit(type), priority),
    "task.leased": ({ queue, waitedMs, dispatchMs }) => {
      this.#queueLatency.observe(waitedMs / 1000, this.#queues.admit(queue));
      this.#dispatchLatency.observe(dispatchMs / 1000);
    },
    "task.settled": (fields) => this.#settled(fields),
    "task.cancelled": ({ type }) =>
      this.#processed.add(this.#types.admit(type), finals.indexOf("cancelled")),
    "task.overdue": ({ type, status }) =>
      this.#processed.add(this.#types.admit(type), finals.indexOf(status as FinalStatus)),
    "result.refused": ({ verdict }) => this.#refused.add(verdict),
    "schedule.ticked": ({ outcome, ticks, lateMs }) => {
      this.#ticks.add(outcome, 0, ticks);
      if (outcome === "taken" && lateMs !== undefined) this.#tickLateness.observe(lateMs / 1000);
    },
    "watch.told": ({ by }) => this.#told.add(by),
    "loop.failed": ({ loop }) => this.#failures.add(this.#loops.admit(loop)),
    "session.opened": ({ sessionId, generation }) => void this.#sessions.set(sessionId, generation),
    "session.closed": ({ sessionId, generation }) => {
      // A stream that a newer one has taken over from ends later than that one began.
      if (this.#sessions.get(sessionId) === generation) this.#sessions.delete(sessionId);
    },
    "session.lost": () => void (this.#sessionsLost += 1),
    "history.recorded": ({ rows, ms }) => {
      this.#rows += rows;
      this.#flush.observe(ms / 1000);
    },
    "outbox.seen": ({ partition, ...seen }) => void this.#outbox.set(partition, seen),
  };

  /** The names people know from elsewhere, without a prefix. */
  readonly plain: readonly Metric[] = [
    this.#submitted,
    this.#processed,
    this.#duration,
    this.#workers,
    this.#retries,
  ];

  readonly own: readonly Metric[] = [
    this.#queueLatency,
    this.#dispatchLatency,
    this.#losses,
    new Reading(
      "drover_sessions_lost_total",
      "Worker sessions that died with leases.",
      "counter",
      () => this.#sessionsLost,
    ),
    this.#refused,
    this.#flush,
    new Reading(
      "drover_history_rows_total",
      "Rows written to history by this coordinator.",
      "counter",
      () => this.#rows,
    ),
    new Reading(
      "drover_history_lag_seconds",
      "Age of the oldest transition, of any coordinator, that history does not have yet.",
      "gauge",
      () => this.#ifKnown(({ oldestMs }, most) => Math.max(most, oldestMs / 1000)),
    ),
    new Reading(
      "drover_outbox_entries",
      "Transitions, of all coordinators, that wait in the outbox for history.",
      "gauge",
      () => this.#ifKnown(({ entries }, sum) => sum + entries),
    ),
    this.#told,
    this.#ticks,
    this.#tickLateness,
    this.#failures,
  ];

  readonly #brokerUp: () => boolean;

  constructor(brokerUp: () => boolean) {
    this.#brokerUp = brokerUp;
  }

  /** Over all partitions. While the broker is away the last figures are no news. */
  #ifKnown(add: (seen: Outbox, so: number) => number): number | undefined {
    if (!this.#brokerUp()) return undefined;
    let figure = 0;
    for (const seen of this.#outbox.values()) figure = add(seen, figure);
    return figure;
  }

  subscribe(events: Events): () => void {
    return events.subscribe((name, fields) => {
      (this.#on[name] as ((fields: EventCatalog[EventName]) => void) | undefined)?.(fields);
    });
  }

  #settled({ type, status, outcome, ranMs }: EventCatalog["task.settled"]): void {
    const name = this.#types.admit(type);
    const final = finals.indexOf(status as FinalStatus);
    if (final >= 0) this.#processed.add(name, final);
    if (outcome === "lose") this.#losses.add(name);
    if (outcome === "lose" || outcome === "release") return;
    this.#duration.observe(ranMs / 1000, name);
    if (final < 0) this.#retries.add(name);
  }
}
