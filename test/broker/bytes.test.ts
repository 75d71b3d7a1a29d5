import fc from "fast-check";
import { expect, it } from "vitest";
import { Packer, Unpacker } from "../../src/broker/redis/bytes.js";

const texts = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc.string({ unit: "binary", minLength: 30, maxLength: 60 }),
);
const ids = fc.uuid();
const times = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const item = fc.record({ text: texts, id: ids, time: times, data: fc.uint8Array() });

/** Its buffer has 4,096 bytes at first: it grows somewhere in the first items. */
const leads = fc.integer({ min: 3_900, max: 4_095 });

it("reads back what was packed, wherever the packer's buffer had to grow", () => {
  fc.assert(
    fc.property(fc.array(item, { minLength: 2 }), leads, (items, lead) => {
      const packer = new Packer();
      packer.skip(lead);
      for (const { text, id, time, data } of items) {
        const start = packer.length;
        packer.skip(8);
        packer.text(text);
        packer.uuid(id);
        packer.number(time);
        packer.double(time);
        packer.uint48(time);
        packer.raw(data);
        packer.uint32At(start, data.length);
        packer.uint16At(start + 4, 7);
        packer.byteAt(start + 6, 9);
      }
      const packed = packer.take();
      const from = new Unpacker(packed, lead);
      for (const { text, id, time, data } of items) {
        const start = from.at;
        expect(packed.subarray(start + 4, start + 8)).toEqual(Buffer.from([0, 7, 9, 0]));
        from.at += 8;
        expect(from.text()).toBe(Buffer.from(text).toString());
        expect(packed.toString("hex", from.at, from.at + 16)).toBe(id.replaceAll("-", ""));
        from.at += 16;
        expect(from.number()).toBe(time);
        expect(from.double()).toBe(time);
        expect(packed.readUIntBE(from.at, 6)).toBe(time);
        from.at += 6;
        expect(packed.subarray(from.at, from.at + data.length)).toEqual(Buffer.from(data));
        expect(packed.readUInt32BE(start)).toBe(data.length);
        from.at += data.length;
      }
      expect(from.at).toBe(packed.length);
    }),
  );
});
