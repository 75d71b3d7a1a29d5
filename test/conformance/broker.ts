import { describe, expect, it } from "vitest";
import type { Task } from "../../src/task/task.js";
import type { MakeBroker } from "./broker-harness.js";
import { atHandChecks } from "./broker/at-hand.js";
import { checkpointChecks } from "./broker/checkpoints.js";
import { coldChecks } from "./broker/cold.js";
import { identityChecks } from "./broker/identity.js";
import { cancelChecks } from "./broker/cancelling.js";
import { Kit, type Check } from "./broker/kit.js";
import { leaseChecks } from "./broker/leases.js";
import { nextLeaseChecks } from "./broker/next-lease.js";
import { orderChecks } from "./broker/order.js";
import { outboxChecks } from "./broker/outbox.js";
import { replaceChecks } from "./broker/replacing.js";
import { sessionChecks } from "./broker/sessions.js";
import { settleChecks } from "./broker/settle.js";
import { timeoutChecks } from "./broker/timeouts.js";
import { wakeupChecks } from "./broker/wakeups.js";
import { watchChecks } from "./broker/watching.js";

/** Every check of the broker's promises B1 to B17 (B11 follows each of them). */
export const brokerChecks: readonly Check[] = [
  ...identityChecks,
  ...orderChecks,
  ...leaseChecks,
  ...settleChecks,
  ...nextLeaseChecks,
  ...cancelChecks,
  ...timeoutChecks,
  ...sessionChecks,
  ...outboxChecks,
  ...atHandChecks,
  ...wakeupChecks,
  ...coldChecks,
  ...watchChecks,
  ...checkpointChecks,
  ...replaceChecks,
];

/** Runs one check on a broker of its own; rejects if a promise is broken. */
export async function runCheck(
  check: Check,
  make: MakeBroker,
  usual?: Partial<Task>,
): Promise<void> {
  const harness = await make(check.options);
  try {
    const kit = new Kit(harness, await harness.broker.now(), check.durable ? {} : usual);
    await kit.openAll();
    await check.run(kit);
    await kit.assertCounts();
    if (harness.audit) expect(await harness.audit()).toEqual([]);
  } finally {
    await harness.stop();
  }
}

/** The conformance suite, for any implementation. `usual`: see Kit. */
export function exerciseBroker(name: string, make: MakeBroker, usual?: Partial<Task>): void {
  describe(`${name} keeps the promises of a broker`, () => {
    it("B13 starts cold and empty", async () => {
      const harness = await make();
      try {
        const status = await harness.broker.status(0);
        expect(status).toMatchObject({ cold: true, openedOn: "", epoch: 0 });
        expect(status.storeId).not.toBe("");
        expect(harness.broker.available).toBe(true);
        expect(await harness.broker.counts("default")).toEqual([]);
      } finally {
        await harness.stop();
      }
    });

    for (const check of brokerChecks) {
      it(`${check.promise} ${check.name}`, () => runCheck(check, make, usual));
    }
  });
}
