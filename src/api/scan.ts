import type { DescMessage } from "@bufbuild/protobuf";

/**
 * Most fields a message may hold in all, those of its parts included. Decoding a byte can cost a
 * thousand times its size in objects: 4 MiB of empty messages would block the process for seconds,
 * so they are counted on the wire first.
 */
export const elementsMax = 250_000;

type Children = ReadonlyMap<number, DescMessage>;
const known = new WeakMap<DescMessage, Children>();

/** Fields that hold messages, which can be looked into. */
function childrenOf(desc: DescMessage): Children {
  let children = known.get(desc);
  if (!children) {
    const fields = desc.fields.flatMap((field): [number, DescMessage][] =>
      field.message ? [[field.number, field.message]] : [],
    );
    children = new Map(fields);
    known.set(desc, children);
  }
  return children;
}

/** False if the bytes hold too many. Malformed bytes are left to the decoder, which says so. */
export const withinElements = (desc: DescMessage, bytes: Uint8Array): boolean =>
  // Two bytes a field is the least.
  bytes.length <= 2 * elementsMax || new Scan(bytes).message(desc, bytes.length, 0) <= elementsMax;

const deepest = 10;

class Scan {
  private at = 0;
  private count = 0;
  private readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /** Fields up to `end`, this message's and all before it. */
  message(desc: DescMessage, end: number, depth: number): number {
    const children = childrenOf(desc);
    while (this.at < end && this.count <= elementsMax) {
      this.count += 1;
      const tag = this.varint();
      const wireType = tag & 7;
      if (wireType === 0) this.varint();
      else if (wireType === 1) this.at += 8;
      else if (wireType === 5) this.at += 4;
      else if (wireType === 2) this.part(children.get(tag >>> 3), end, depth + 1);
      else this.at = end;
    }
    return this.count;
  }

  private part(child: DescMessage | undefined, end: number, depth: number): void {
    const stop = Math.min(end, this.varint() + this.at);
    if (child && depth < deepest) this.message(child, stop, depth);
    this.at = stop;
  }

  private varint(): number {
    let result = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = this.bytes[this.at++] ?? 0;
      if (shift <= 21) result |= (byte & 0x7f) << shift;
      else if (byte & 0x7f) result = this.bytes.length + 1;
      if (byte < 0x80) break;
    }
    return result;
  }
}
