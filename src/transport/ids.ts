import { v4, v7 } from "uuid";
import type { Clock, Random } from "../clock.js";

/** A UUIDv7 with the time of the clock. */
export const freshId = (clock: Clock, random: Random): string =>
  v7({ msecs: clock.now(), random: random.bytes(16) });

/** A UUID that says nothing. */
export const freshSessionId = (random: Random): string => v4({ random: random.bytes(16) });

/** Bytes of a UUID, and its letters. */
const idBytes = 16;
export const idLength = 36;
/** Ids that one draw of random bytes is for. */
const idsDrawn = 64;
const digits = Buffer.from("0123456789abcdef");

/** Writes ids as `freshId` makes them, without an object for each. */
export class IdStamp {
  readonly #clock: Clock;
  readonly #random: Random;
  #drawn: Uint8Array = new Uint8Array(0);
  #used = 0;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /** 36 letters, from `at` on. */
  write(target: Uint8Array, at: number): void {
    if (this.#used === this.#drawn.length) {
      this.#drawn = this.#random.bytes(idsDrawn * idBytes);
      this.#used = 0;
    }
    const bytes = this.#drawn;
    const from = this.#used;
    this.#used += idBytes;
    let ms = this.#clock.now();
    for (let nth = 5; nth >= 0; nth -= 1) {
      bytes[from + nth] = ms % 256;
      ms = Math.floor(ms / 256);
    }
    bytes[from + 6] = (bytes[from + 6]! & 0x0f) | 0x70;
    bytes[from + 8] = (bytes[from + 8]! & 0x3f) | 0x80;
    let to = at;
    for (let nth = 0; nth < idBytes; nth += 1) {
      // 8-4-4-4-12
      if (nth === 4 || nth === 6 || nth === 8 || nth === 10) target[to++] = dash;
      const byte = bytes[from + nth]!;
      target[to++] = digits[byte >> 4]!;
      target[to++] = digits[byte & 0x0f]!;
    }
  }
}

const dash = "-".charCodeAt(0);
