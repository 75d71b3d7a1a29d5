/** So many places that are empty before the rest moves up, at least. */
const moveAfter = 1_024;

/**
 * A line that is taken from in order, however long it is: an array of some hundred thousand moves
 * them all for each that goes.
 */
export class Fifo<Item> {
  /** Undefined: it went. */
  #items: (Item | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  get first(): Item | undefined {
    return this.#items[this.#head];
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  shift(): Item | undefined {
    if (this.length === 0) return undefined;
    const item = this.first;
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.length === 0 || (this.#head >= moveAfter && this.#head >= this.length)) {
      this.#items = this.takeAll();
    }
    return item;
  }

  /** None is left from then on. */
  takeAll(): Item[] {
    const all = this.#items.slice(this.#head) as Item[];
    this.#items = [];
    this.#head = 0;
    return all;
  }
}
