import { describe, expect, it } from "vitest";
import type { ScriptName, Scripts } from "../../src/broker/redis/scripts.js";
import { inTurns } from "../../src/broker/redis/turns.js";

interface Sent {
  readonly name: ScriptName;
  answer(reply: unknown): void;
  fail(error: Error): void;
}

/** A connection on which nothing is answered before the test says so. */
function connected(): { scripts: Scripts; sent: Sent[]; readonly names: () => ScriptName[] } {
  const sent: Sent[] = [];
  const scripts = inTurns({
    run: (name) =>
      new Promise((answer, fail) => {
        sent.push({ name, answer, fail });
      }),
  });
  return { scripts, sent, names: () => sent.map(({ name }) => name) };
}

describe("turns on a connection of Redis", () => {
  it("sends what comes behind a lease call once that is answered, in its order", async () => {
    const { scripts, sent, names } = connected();
    const lease = scripts.run("lease", "p", []);
    const settle = scripts.run("settle", "p", []);
    void scripts.run("enqueue", "p", []);
    void scripts.run("recorded", "p", []);
    expect(names()).toEqual(["lease"]);
    sent[0]!.answer("leases");
    expect(await lease).toBe("leases");
    expect(names()).toEqual(["lease", "settle", "enqueue", "recorded"]);
    sent[1]!.answer("settled");
    expect(await settle).toBe("settled");
  });

  it("holds nothing up where no lease call is under way", async () => {
    const { scripts, sent, names } = connected();
    const lease = scripts.run("lease", "p", []);
    sent[0]!.answer(undefined);
    await lease;
    void scripts.run("settle", "p", []);
    void scripts.run("enqueue", "p", []);
    expect(names()).toEqual(["lease", "settle", "enqueue"]);
  });

  it("sends renewals and cancels at once, whatever is under way", () => {
    const { scripts, names } = connected();
    void scripts.run("lease", "p", []);
    void scripts.run("renew_sessions", "p", []);
    void scripts.run("cancel", "p", []);
    expect(names()).toEqual(["lease", "renew_sessions", "cancel"]);
  });

  it("sends what waits when a lease call fails", async () => {
    const { scripts, sent, names } = connected();
    const lease = scripts.run("lease", "p", []);
    const settle = scripts.run("settle", "p", []);
    sent[0]!.fail(new Error("no answer"));
    await expect(lease).rejects.toThrow("no answer");
    expect(names()).toEqual(["lease", "settle"]);
    sent[1]!.fail(new Error("no connection"));
    await expect(settle).rejects.toThrow("no connection");
  });

  it("lets nothing wait for lease calls that come one after another without end", async () => {
    const { scripts, sent, names } = connected();
    const first = scripts.run("lease", "p", []);
    void scripts.run("lease", "p", []);
    void scripts.run("settle", "p", []);
    sent[0]!.answer(undefined);
    await first;
    expect(names()).toEqual(["lease", "lease", "settle"]);
  });
});
