import { describe, expect, it } from "vitest";
import { LeaseTable } from "../../src/worker/lease-table.js";

const tokensOf = (table: LeaseTable): string[] =>
  table.heldTokens().map((token) => Buffer.from(token).toString("latin1"));

function tableOf(...keys: string[]) {
  const table = new LeaseTable();
  const leases = keys.map((key) => table.add(key, `task-${key}`, 1_000, 0));
  return { table, leases };
}

describe("the leases whose handlers run", () => {
  it.each([1, 2, 3])("knows each of %i, the newest too", (count) => {
    const keys = ["a", "b", "c"].slice(0, count);
    const { table, leases } = tableOf(...keys);
    expect(keys.map((key) => table.get(key))).toEqual(leases);
    expect(table.running()).toEqual(leases);
    expect(tokensOf(table)).toEqual(keys);
    expect([table.held, table.strays]).toEqual([count, 0]);
    expect([table.has("d"), table.get("d")]).toEqual([false, undefined]);
  });

  it.each([
    ["the oldest first", ["a", "b", "c"]],
    ["the newest first", ["c", "b", "a"]],
    ["the middle first", ["b", "c", "a"]],
  ])("forgets those that ended, and is idle after the last: %s", async (_order, keys) => {
    const { table } = tableOf("a", "b", "c");
    let idle = false;
    const waited = table.idle().then(() => (idle = true));
    for (const key of keys) {
      await Promise.resolve();
      expect(idle).toBe(false);
      table.remove(table.get(key)!);
      expect(table.has(key)).toBe(false);
    }
    await waited;
    expect([table.held, table.strays, table.running()]).toEqual([0, 0, []]);
    await table.idle();
  });

  it("an end that is told twice counts once", () => {
    const { table, leases } = tableOf("a", "b");
    for (const lease of leases) table.remove(lease);
    for (const lease of leases) table.remove(lease);
    table.add("c", "task-c", 0, 0);
    expect([table.held, table.strays]).toEqual([1, 0]);
  });

  it.each(["a", "b"])("asks the handler of %s to stop, which is a stray from then on", (key) => {
    const { table } = tableOf("a", "b");
    const lease = table.get(key)!;
    table.abort(lease, "lease_lost", "it is gone", "unknown");
    expect(lease.signal.aborted).toBe(true);
    expect([table.held, table.strays]).toEqual([1, 1]);
    expect(tokensOf(table)).toEqual(["a", "b"].filter((other) => other !== key));
    table.remove(lease);
    expect([table.held, table.strays]).toEqual([1, 0]);
  });
});
