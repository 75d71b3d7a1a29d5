import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { SentFrames } from "../../src/client/sent-frames.js";
import type { Submission } from "../../src/client/submissions.js";

let places = 0;
const frameOf = (count: number): Submission[] =>
  Array.from({ length: count }, () => ({ place: (places += 1) }) as Submission);

/** Sizes of the frames that are sent, and between them places of answers among those left. */
const courses = fc.array(
  fc.oneof(
    fc.record({ send: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ answer: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }) }),
  ),
  { maxLength: 60, size: "max" },
);

describe("what was sent and has no answer", () => {
  test.prop([courses, fc.constantFrom(1, 2 ** 31 - 3, 2 ** 32 - 3)])(
    "is found by its number once, in whatever order answers come",
    (course, start) => {
      const sent = new SentFrames(start);
      const left = new Map<number, Submission>();
      let next = start;
      for (const step of course) {
        if ("send" in step) {
          const frame = frameOf(step.send);
          expect(sent.add(frame)).toBe(next);
          for (const submission of frame) {
            left.set(next, submission);
            next = next === 2 ** 32 - 1 ? 0 : next + 1;
          }
        } else if (left.size > 0) {
          const number = [...left.keys()][Math.floor(step.answer * left.size)]!;
          expect(sent.take(number)).toBe(left.get(number));
          expect(sent.take(number)).toBeUndefined();
          left.delete(number);
        }
        expect(sent.size).toBe(left.size);
      }
      expect(sent.takeAll()).toEqual([...left.values()]);
      expect([sent.size, sent.takeAll()]).toEqual([0, []]);
    },
  );

  it("is nothing under a number that was not given out", () => {
    const sent = new SentFrames();
    expect([sent.take(0), sent.take(1)]).toEqual([undefined, undefined]);
    sent.add(frameOf(2));
    sent.add(frameOf(1));
    expect([0, 4, 2 ** 32 - 1].map((number) => sent.take(number))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(sent.size).toBe(3);
  });

  it("leaves the frame it was sent in as it is", () => {
    const sent = new SentFrames();
    const frame = frameOf(1);
    const [submission] = frame;
    sent.add(frame);
    sent.take(1);
    expect(frame).toEqual([submission]);
  });
});
