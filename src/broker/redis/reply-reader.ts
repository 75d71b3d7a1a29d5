/** Redis' own words for why it did not do what it was asked. */
export class ReplyError extends Error {
  override readonly name = "ReplyError";
}

/** As RESP2 has them: strings are Buffers, which keep what was read from the socket with them. */
export type RawReply = Buffer | number | null | ReplyError | RawReply[];

/** A list whose elements are not all here yet. */
interface Open {
  readonly list: RawReply[];
  left: number;
}

const cr = 0x0d;
const minus = 0x2d;
const zero = 0x30;
const kinds = { text: 0x2b, error: 0x2d, number: 0x3a, bytes: 0x24, list: 0x2a } as const;

/** Nothing more can be read from what is here. */
const missing = Symbol("missing");

/**
 * Reads what Redis answers, wherever the network has cut it. By hand, as a lone answer costs
 * ioredis, which reads through maps of private fields, ten times the steps.
 */
export class ReplyReader {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  /** What came since, of a string whose end is not here: joined once it is. */
  #later: Buffer[] = [];
  #laterBytes = 0;
  /** Bytes without which it is of no use to look again. */
  #wanted = 0;
  readonly #open: Open[] = [];

  /** Calls `each` with every whole answer. Throws on what no Redis says; it is of no use after. */
  take(chunk: Buffer, each: (reply: RawReply) => void): void {
    if (!this.#join(chunk)) return;
    while (this.#at < this.#bytes.length) {
      const from = this.#at;
      const value = this.#next();
      if (value === missing) {
        this.#at = from;
        break;
      }
      if (value !== undefined) this.#put(value, each);
    }
    this.#keepRest();
  }

  /** False: too little came. */
  #join(chunk: Buffer): boolean {
    if (this.#bytes.length === 0) {
      this.#bytes = chunk;
      return true;
    }
    this.#later.push(chunk);
    this.#laterBytes += chunk.length;
    if (this.#bytes.length + this.#laterBytes < this.#wanted) return false;
    this.#bytes = Buffer.concat([this.#bytes, ...this.#later]);
    this.#later = [];
    this.#laterBytes = 0;
    return true;
  }

  #keepRest(): void {
    this.#bytes = this.#at === this.#bytes.length ? none : this.#bytes.subarray(this.#at);
    this.#wanted -= this.#at;
    this.#at = 0;
  }

  /** Undefined: a list has begun. */
  #next(): RawReply | undefined | typeof missing {
    const bytes = this.#bytes;
    const kind = bytes[this.#at]!;
    if (kind === kinds.text || kind === kinds.error) return this.#line(kind);
    const number = this.#number();
    if (number === missing || kind === kinds.number) return number;
    if (kind === kinds.bytes) return number < 0 ? null : this.#string(number);
    if (kind !== kinds.list) throw new Error(`Redis answers with a kind ${kind} of RESP`);
    if (number < 0) return null;
    if (number === 0) return [];
    this.#open.push({ list: [], left: number });
    return undefined;
  }

  #put(value: RawReply, each: (reply: RawReply) => void): void {
    let whole = value;
    for (let top = this.#open.at(-1); top; top = this.#open.at(-1)) {
      top.list.push(whole);
      top.left -= 1;
      if (top.left > 0) return;
      whole = top.list;
      this.#open.pop();
    }
    each(whole);
  }

  #line(kind: number): Buffer | ReplyError | typeof missing {
    const from = this.#at + 1;
    const end = this.#bytes.indexOf("\r\n", from);
    if (end < 0) return missing;
    this.#at = end + 2;
    if (kind === kinds.error) return new ReplyError(this.#bytes.toString("utf8", from, end));
    return this.#bytes.subarray(from, end);
  }

  /** What stands behind the kind, up to the end of its line. */
  #number(): number | typeof missing {
    const bytes = this.#bytes;
    let at = this.#at + 1;
    const negative = bytes[at] === minus;
    if (negative) at += 1;
    let number = 0;
    while (at + 1 < bytes.length) {
      const byte = bytes[at]!;
      if (byte === cr) {
        this.#at = at + 2;
        return negative ? -number : number;
      }
      const digit = byte - zero;
      if (digit < 0 || digit > 9) throw new Error(`Redis answers with a byte ${byte} in a number`);
      number = number * 10 + digit;
      at += 1;
    }
    return missing;
  }

  #string(length: number): Buffer | typeof missing {
    const from = this.#at;
    const end = from + length;
    if (end + 2 > this.#bytes.length) {
      this.#wanted = end + 2;
      return missing;
    }
    this.#at = end + 2;
    return this.#bytes.subarray(from, end);
  }
}

const none = Buffer.alloc(0);
