import { expect, it } from "vitest";
import { RowWriter } from "../../src/history/postgres/wire.js";

const written = (own?: Buffer): RowWriter => {
  const writer = new RowWriter(undefined, 1, own);
  writer.begin();
  writer.int8(7);
  writer.end();
  return writer;
};

it("the end of a COPY is there, also where the writer's own buffer is full", () => {
  const { length } = written();
  const whole = written().finish();
  for (let spare = 0; spare < whole.length - length; spare += 1) {
    expect(written(Buffer.alloc(length + spare)).messages()).toEqual(whole);
  }
});
