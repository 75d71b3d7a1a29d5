import type { Broker } from "../broker/broker.js";
import type { Clock, Random } from "../clock.js";
import type { SettleDesk } from "../coordinator/settle-desk.js";
import type { History } from "../history/history.js";
import type { Service } from "../service.js";
import type { Events } from "../telemetry/events.js";
import { createCompare } from "./compare.js";
import { createMarkerRecovery } from "./marker-recovery.js";
import { createOutboxDrainer } from "./outbox-drainer.js";
import { createPruner } from "./pruner.js";
import { createReconciler } from "./reconciler.js";
import type { HistoryRecorder } from "./recorder.js";
import { createSweeper } from "./sweeper.js";

export interface MaintenanceOptions {
  readonly broker: Broker;
  readonly history: History;
  readonly desk: SettleDesk;
  /** Made before, since the coordinator records through it; started and stopped here. */
  readonly recorder: HistoryRecorder;
  readonly events: Events;
  readonly clock: Clock;
  readonly random: Random;
}

/** Longest wait at the end for what is being written. */
const flushMs = 2_000;

/**
 * All duties in the background of one coordinator. Started in this order, each once the one before
 * stands: recorder, reconciler (opens partitions), sweepers, marker recovery, outbox drainer,
 * compare, pruner. Stopped in the reverse order, the recorder last, once it has written what it
 * holds: stop the coordinator before, so that nothing is given to it any more.
 */
export function createMaintenance(options: MaintenanceOptions): Service {
  const { broker, recorder } = options;
  const drainer = createOutboxDrainer(options);
  const compare = createCompare(options);
  const reconciler = createReconciler({
    ...options,
    onReopened: (partition) => compare.request(partition),
  });
  const sweepers = Array.from({ length: broker.partitions }, (_, partition) =>
    createSweeper({
      ...options,
      partition,
      onOutbox: (noticed, oldestMs) => drainer.notice(noticed, oldestMs),
    }),
  );
  const recovery = createMarkerRecovery(options);
  const duties = [reconciler, ...sweepers, recovery, drainer, compare, createPruner(options)];
  return {
    async start() {
      await recorder.start();
      for (const duty of duties) await duty.start();
    },
    async stop() {
      for (const duty of duties.toReversed()) await duty.stop();
      await flushAtEnd(options);
      await recorder.stop();
    },
  };
}

/** What is left is in the outbox, but recorded here it need not wait for another coordinator. */
async function flushAtEnd({ recorder, history, clock }: MaintenanceOptions): Promise<void> {
  if (!history.available) return;
  const enough = new AbortController();
  const patience = clock.sleep(flushMs, enough.signal).catch(() => undefined);
  await Promise.race([recorder.flush(), patience]);
  enough.abort();
  await patience;
}
