import { expect, it } from "vitest";
import type { Births } from "../../src/broker/broker.js";
import { ToldBirths } from "../../src/maintenance/told-births.js";

const birthsOf = (bytes: number): Births => ({
  partition: 0,
  ids: [],
  version: 1,
  bytes,
  outboxIdOf: String,
  outboxPlaceOf: Number,
  transitionOf: () => {
    throw new Error("not asked for");
  },
});

it("births that are told of stand together by their calls, in whatever order they come", () => {
  const [one, two] = [birthsOf(1), birthsOf(2)];
  const told = new ToldBirths();
  expect(told.list).toEqual([]);
  for (const [births, nth] of [
    [one, 4],
    [one, 5],
    [two, 0],
    [one, 2],
    [two, 7],
    [two, 1],
  ] as const) {
    told.add(births, nth);
  }
  expect(told.list).toEqual([
    { births: one, nths: [4, 5, 2] },
    { births: two, nths: [0, 7, 1] },
  ]);
});
