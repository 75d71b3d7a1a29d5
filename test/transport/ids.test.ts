import { describe, expect, it } from "vitest";
import { validate, version } from "uuid";
import { freshId, idLength, IdStamp } from "../../src/transport/ids.js";
import { systemRandom } from "../../src/clock.js";
import { createManualClock } from "../support/manual-clock.js";

describe("ids of requests", () => {
  const clock = createManualClock();
  const stamp = new IdStamp(clock, systemRandom);
  const stamped = (): string => {
    const target = Buffer.from("<".repeat(idLength + 2));
    stamp.write(target, 1);
    const text = target.toString();
    expect([text[0], text.at(-1)]).toEqual(["<", "<"]);
    return text.slice(1, -1);
  };

  it("are UUIDv7s with the time of the clock, however they are made", async () => {
    for (const ms of [0, 1, 2 ** 33 + 123_456]) {
      await clock.advance(ms);
      const [one, other] = [stamped(), freshId(clock, systemRandom)];
      expect([validate(one), version(one)]).toEqual([true, 7]);
      const time = clock.now().toString(16).padStart(12, "0");
      expect(one.replaceAll("-", "").slice(0, 12)).toBe(time);
      expect(other.replaceAll("-", "").slice(0, 12)).toBe(time);
    }
  });

  it("are all different, and use their bits", () => {
    const ids = Array.from({ length: 1_000 }, stamped);
    expect(new Set(ids.map((id) => id.slice(19))).size).toBe(1_000);
    for (let place = 14; place < idLength; place += 1) {
      const letters = new Set(ids.map((id) => id[place]));
      const fixed = { 14: 1, 18: 1, 19: 4, 23: 1 }[place] ?? 16;
      expect([place, letters.size]).toEqual([place, fixed]);
    }
  });
});
