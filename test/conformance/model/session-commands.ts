import fc from "fast-check";
import { expect } from "vitest";
import { limits } from "../../../src/limits.js";
import { sessionInfo } from "../../support/task-factory.js";
import { command, indexes, pick, sessionIds } from "./command.js";
import { hex } from "./reference.js";

const sessionInput = fc.record({
  session: fc.constantFrom(...sessionIds),
  delta: fc.constantFrom(0, 0, 0, -1, 1),
});

export const open = fc
  .record({
    session: fc.constantFrom(...sessionIds),
    delta: fc.constantFrom(1, 1, 1, 0, -1),
    held: fc.array(indexes, { maxLength: 6 }),
  })
  .map((input) =>
    command("open", input, async (model, real) => {
      const known = model.sessions.get(input.session);
      const generation = Math.max(1, (known?.generation ?? 1) + input.delta);
      const chosen = input.held
        .map((at) => pick(model.leases, at))
        .filter((one) => one !== undefined);
      const held = [...new Map(chosen.map((one) => [hex(one.token), one])).values()];
      const reply = await real.broker.openSession({
        sessionId: input.session,
        generation,
        leaseMs: limits.sessionLeaseMs,
        info: sessionInfo({ sessionId: input.session }),
        heldTokens: held.map(({ token }) => token),
        partitions: [0],
      });
      if (known && known.generation > generation) {
        return expect(reply).toEqual({ kind: "superseded", generation: known.generation });
      }
      if (reply.kind !== "opened") return expect(reply.kind).toBe("opened");
      if (model.isLive(input.session)) expect(reply.resumed).toBe(true);
      if (!known) expect(reply.resumed).toBe(false);
      const endsAt = model.now + limits.sessionLeaseMs;
      const session = { id: input.session, generation, endsAt, left: false };
      const expected = model.resume(session, held);
      expect(reply.kept.map((one) => hex(one.token)).toSorted()).toEqual(expected.kept);
      expect(reply.revoked.map(hex).toSorted()).toEqual(expected.revoked);
      expect(reply.missing).toEqual([]);
      const running = model
        .all()
        .filter((task) => task.status === "running" && task.sessionId === input.session)
        .map((task) => task.token!)
        .filter((token) => !expected.kept.includes(token));
      const lost = reply.lostInTransit.map((one) => hex(one.token));
      expect(lost.toSorted()).toEqual(running.toSorted());
    }),
  );

export const renew = sessionInput.map((input) =>
  command("renew", input, async (model, real) => {
    const known = model.sessions.get(input.session);
    const generation = Math.max(1, (known?.generation ?? 1) + input.delta);
    const renewal = { sessionId: input.session, generation, leaseMs: limits.sessionLeaseMs };
    const [verdict] = await real.broker.renewSessions(0, [renewal]);
    if (known && known.generation > generation && !model.isLive(input.session)) {
      return expect(["gone", "superseded"]).toContain(verdict);
    }
    if (known && known.generation > generation) return expect(verdict).toBe("superseded");
    const lives = model.isLive(input.session) && known!.generation === generation;
    expect(verdict).toBe(lives ? "renewed" : "gone");
    if (lives) known!.endsAt = model.now + limits.sessionLeaseMs;
  }),
);

export const cut = sessionInput.map((input) =>
  command("cut", input, async (model, real) => {
    const known = model.sessions.get(input.session);
    const generation = Math.max(1, (known?.generation ?? 1) + input.delta);
    await real.broker.cutSession(input.session, generation, limits.brokenStreamLeaseMs);
    if (!model.isLive(input.session) || known!.generation !== generation) return;
    known!.endsAt = Math.min(known!.endsAt, model.now + limits.brokenStreamLeaseMs);
  }),
);

export const leave = sessionInput.map((input) =>
  command("leave", input, async (model, real) => {
    const known = model.sessions.get(input.session);
    const generation = Math.max(1, (known?.generation ?? 1) + input.delta);
    // Whether a goodbye still counts after death is left open; the worker is gone either way.
    if (known && !model.isLive(input.session)) return;
    await real.broker.closeSession(input.session, generation);
    if (known && known.generation === generation) known.left = true;
  }),
);
