import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { firstStatus, mayBecome, mustNext, next, type StatusEvent } from "../../src/task/status.js";
import { finalStatuses, isFinal, type Status } from "../../src/task/task.js";

const allowed: readonly [Status, StatusEvent, Status][] = [
  ["blocked", "unblock", "pending"],
  ["blocked", "unblockLater", "scheduled"],
  ["blocked", "cancel", "cancelled"],
  ["blocked", "expire", "expired"],
  ["scheduled", "promote", "pending"],
  ["scheduled", "adopt", "running"],
  ["scheduled", "cancel", "cancelled"],
  ["scheduled", "expire", "expired"],
  ["pending", "grant", "running"],
  ["pending", "adopt", "running"],
  ["pending", "completeLate", "completed"],
  ["pending", "cancel", "cancelled"],
  ["pending", "expire", "expired"],
  ["retrying", "promote", "pending"],
  ["retrying", "adopt", "running"],
  ["retrying", "completeLate", "completed"],
  ["retrying", "cancel", "cancelled"],
  ["retrying", "expire", "expired"],
  ...(["scheduled", "pending", "retrying"] as const).map((from): [Status, StatusEvent, Status] => [
    from,
    "outlive",
    "failed",
  ]),
  ["running", "complete", "completed"],
  ["running", "retry", "retrying"],
  ["running", "fail", "failed"],
  ["running", "release", "pending"],
  ["running", "releaseLater", "scheduled"],
  ["running", "lose", "pending"],
  ["running", "loseLater", "retrying"],
  ["running", "poison", "failed"],
  ["running", "cancel", "cancelled"],
  ["failed", "revive", "pending"],
  ["cancelled", "revive", "pending"],
  ["expired", "revive", "pending"],
];

const statuses = [...new Set(allowed.map(([from]) => from)), "completed" as const];
const events = [...new Set(allowed.map(([, event]) => event))];

describe("next", () => {
  it.each(allowed)("leads a %s task on %s to %s", (from, event, to) => {
    expect(next(from, event)).toBe(to);
    expect(mustNext(from, event)).toBe(to);
  });

  it("refuses every pair that the table does not hold", () => {
    for (const from of statuses) {
      for (const event of events) {
        if (allowed.some(([f, e]) => f === from && e === event)) continue;
        expect(next(from, event), `${from} ${event}`).toBeUndefined();
        expect(() => mustNext(from, event)).toThrow(`${event} is not allowed for a ${from} task`);
      }
    }
  });

  it("never leaves completed, and leaves another final status only by revive", () => {
    for (const from of finalStatuses) {
      for (const event of events) {
        const to = next(from, event);
        if (from === "completed" || event !== "revive") expect(to).toBeUndefined();
      }
    }
  });

  it("lets a task end once per run, whatever happens to it", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...events), { maxLength: 60 }), (happenings) => {
        let status: Status = "pending";
        let ends = 0;
        let revivals = 0;
        for (const event of happenings) {
          const to = next(status, event);
          if (to === undefined) continue;
          if (isFinal(to)) ends += 1;
          if (event === "revive") revivals += 1;
          status = to;
        }
        return ends - revivals === (isFinal(status) ? 1 : 0);
      }),
    );
  });
});

describe("mayBecome", () => {
  it("holds for all that a run can still come to, and for staying while it is live", () => {
    for (const from of statuses.filter((status) => !isFinal(status))) {
      expect(mayBecome(from, from), from).toBe(true);
      for (const event of events) {
        const to = next(from, event);
        if (to !== undefined) expect(mayBecome(from, to), `${from} to ${to}`).toBe(true);
      }
    }
    expect(mayBecome("blocked", "completed")).toBe(true);
    expect(mayBecome("retrying", "scheduled")).toBe(true);
  });

  it("holds for nothing after an end, and for nothing back to before the first enqueue", () => {
    for (const from of finalStatuses) {
      for (const to of statuses) expect(mayBecome(from, to), `${from} to ${to}`).toBe(false);
    }
    for (const from of statuses.filter((status) => status !== "blocked")) {
      expect(mayBecome(from, "blocked"), from).toBe(false);
    }
  });
});

describe("firstStatus", () => {
  it.each([
    [undefined, 1_000, "pending"],
    [999, 1_000, "pending"],
    [1_000, 1_000, "pending"],
    [1_001, 1_000, "scheduled"],
  ] as const)("readyAt %s at %s is %s", (readyAt, now, expected) => {
    expect(firstStatus(readyAt, now)).toBe(expected);
  });
});
