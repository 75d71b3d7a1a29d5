import { expect } from "vitest";
import type { LeaseReply } from "../../../src/broker/broker.js";
import { limits } from "../../../src/limits.js";
import { hex, type ModelLease, type ModelTask, type ReferenceBroker } from "./reference.js";

/** What a lease call may choose from, taken before the model follows it. */
export interface Choice {
  readonly sessionId: string;
  readonly slots: number;
  readonly ready: readonly ModelTask[];
}

export function choiceOf(
  model: ReferenceBroker,
  sessionId: string,
  slots: number,
  lanes: readonly string[],
): Choice {
  const ready = model
    .all()
    .filter(({ status, lane }) => status === "pending" && lanes.includes(lane))
    .filter((task) => !model.isOver(task))
    .filter(({ spec }) => !model.paused.has(spec.queue));
  return { sessionId, slots, ready };
}

/** The reply must be one that the promises allow (B2, B4); the model then follows it. */
export function followGrants(model: ReferenceBroker, choice: Choice, reply: LeaseReply): void {
  const granted = new Set<string>();
  const grantsBefore = new Map(model.grants);
  for (const { task, token, sessionId } of reply.leases) {
    expect(sessionId).toBe(choice.sessionId);
    const chosen = choice.ready.find(({ id }) => id === task.id);
    expect(chosen, `${task.id} was leasable`).toBeDefined();
    expect(granted.has(task.id), `${task.id} twice`).toBe(false);
    granted.add(task.id);
    expect(task.fencingToken).toBeGreaterThan(model.highestFencing);
    model.grant(task.id, sessionId, token, task.fencingToken);
  }
  expectEnough(model, choice, granted);
  expectOrder(choice, granted);
  for (const queue of new Set(choice.ready.map(({ spec }) => spec.queue))) {
    expectPriorities(choice, granted, queue, grantsBefore.get(queue) ?? 0);
  }
  const left = choice.ready.filter((task) => !granted.has(task.id));
  if (left.length === 0 || granted.size < choice.slots) expect(reply.more).toBe(false);
  else if (left.some((task) => !task.quarantined)) expect(reply.more).toBe(true);
}

/**
 * As many as there are slots or tasks; of a lane's quarantine one at most, and none if one is held.
 */
function expectEnough(model: ReferenceBroker, choice: Choice, granted: Set<string>): void {
  const held = (lane: string) =>
    model
      .all()
      .filter((task) => task.quarantined && task.lane === lane && task.status === "running")
      .filter((task) => task.sessionId === choice.sessionId)
      .map((task) => task.id);
  const suspects = choice.ready.filter((task) => task.quarantined);
  let most = choice.ready.length - suspects.length;
  for (const lane of new Set(suspects.map((task) => task.lane))) {
    const holds = held(lane);
    expect(holds.length, `quarantined tasks of ${lane} at one session`).toBeLessThanOrEqual(1);
    if (holds.every((id) => granted.has(id))) most += 1;
  }
  expect(granted.size, "grants").toBe(Math.min(choice.slots, most));
}

/** Within lane, group and priority nobody who came later goes first. */
function expectOrder(choice: Choice, granted: Set<string>): void {
  const inOrder = choice.ready.filter((task) => !task.cameDelayed && !task.quarantined);
  const bucketOf = ({ lane, spec }: ModelTask) => `${lane}/${spec.groupKey}/${spec.priority}`;
  for (const passed of inOrder.filter((task) => !granted.has(task.id))) {
    const early = inOrder.find(
      (task) =>
        granted.has(task.id) && task.order > passed.order && bucketOf(task) === bucketOf(passed),
    );
    expect(early?.id, `overtook ${passed.id}`).toBeUndefined();
  }
}

/**
 * A grant from below what is left is one of the starvation share, which is neither passed nor
 * withheld.
 */
function expectPriorities(
  choice: Choice,
  granted: Set<string>,
  queue: string,
  grantsBefore: number,
): void {
  const ready = choice.ready.filter((task) => task.spec.queue === queue);
  const count = ready.filter((task) => granted.has(task.id)).length;
  const every = limits.starvationEvery;
  const share = Math.floor((grantsBefore + count) / every) - Math.floor(grantsBefore / every);
  const ordinary = ready.filter((task) => !task.quarantined);
  const levelLeft = Math.max(
    -1,
    ...ordinary.filter((task) => !granted.has(task.id)).map((task) => task.spec.priority),
  );
  const below = ordinary.filter((task) => task.spec.priority < levelLeft);
  const early = below.filter((task) => granted.has(task.id)).length;
  expect(early, `grants of ${queue} below its top level`).toBeLessThanOrEqual(share);
  const top = Math.max(-1, ...ready.map((task) => task.spec.priority));
  const exact = levelLeft === top && ordinary.length === ready.length;
  if (exact) expect(early, `starvation share of ${queue}`).toBe(Math.min(share, below.length));
}

/** Leases that hold: in the order of their grants. */
export const runningOf = (model: ReferenceBroker): ModelLease[] =>
  model.leases.filter(({ taskId, token }) => model.tasks.get(taskId)?.token === hex(token));
