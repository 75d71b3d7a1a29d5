import fc from "fast-check";
import { expect } from "vitest";
import type { Settlement } from "../../../src/broker/broker.js";
import { command, indexes, pick, sessionIds, type Step } from "./command.js";
import { runningOf } from "./grants.js";
import { followOutbox } from "./outbox-order.js";

const shown = Buffer.from('{"ok":true}');

/**
 * Results of a session in one call, most of them in the order of their grants; some come twice, or
 * from somebody else.
 */
export const completeMany: fc.Arbitrary<Step> = fc
  .record({
    session: fc.constantFrom(...sessionIds),
    from: fc.nat({ max: 3 }),
    most: fc.integer({ min: 2, max: 12 }),
    withResult: fc.constantFrom("none", "all", "some"),
    oddOne: fc.option(fc.tuple(indexes, fc.constantFrom("again", "forged", "other", "failed")), {
      nil: undefined,
      freq: 2,
    }),
  })
  .map((input) =>
    command("completeMany", input, async (model, real) => {
      const held = runningOf(model)
        .filter(({ sessionId }) => sessionId === input.session)
        .slice(input.from, input.from + input.most);
      if (held.length === 0) return;
      const items = held.map((lease, nth) => ({
        lease,
        settlement: {
          kind: "complete",
          token: lease.token,
          sessionId: lease.sessionId,
          result: hasResult(input.withResult, nth)
            ? { contentType: "application/json", data: shown }
            : undefined,
        } as Settlement,
      }));
      const odd = input.oddOne && pick(items, input.oddOne[0]);
      if (odd) oddOnes[input.oddOne![1]]!(items, odd);
      const replies = await real.broker.settle(items.map(({ settlement }) => settlement));
      const before = model.outbox.length;
      for (const [nth, { lease, settlement }] of items.entries()) {
        const { token, sessionId, ...ending } = settlement;
        const verdict = model.settle(token, lease.taskId, ending, sessionId);
        expect(replies[nth]!.verdict).toBe(verdict);
        const task = replies[nth]!.transition?.task;
        if (verdict === "accepted" && ending.kind === "complete") {
          expect(task).toMatchObject({ id: lease.taskId, status: "completed" });
          expect(task!.result?.data.toString()).toBe(ending.result?.data.toString());
        }
      }
      followOutbox(
        model,
        before,
        replies.map((reply) => reply.transition),
      );
    }),
  );

const hasResult = (which: string, nth: number): boolean =>
  which === "all" || (which === "some" && nth % 3 === 0);

type Item = { lease: ReturnType<typeof runningOf>[number]; settlement: Settlement };

const oddOnes: Record<string, (items: Item[], odd: Item) => void> = {
  again: (items, odd) => void items.push(odd),
  forged: (_, odd) => {
    const token = Uint8Array.from(odd.settlement.token);
    token[30]! ^= 1;
    odd.settlement = { ...odd.settlement, token };
  },
  other: (_, odd) => {
    odd.settlement = { ...odd.settlement, sessionId: "somebody" };
  },
  failed: (_, odd) => {
    const { token, sessionId } = odd.settlement;
    odd.settlement = { kind: "release", token, sessionId, delayMs: 0 };
  },
};
