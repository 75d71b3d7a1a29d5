import type { Births, Transition } from "../broker/broker.js";
import type { OnRecorded } from "../coordinator/recorder.js";
import type { EndSheet, EndSheets, Told } from "../history/history.js";
import type { Durability } from "../task/task.js";
import type { Birth } from "./held-births.js";
import { Holders, heldMost, nthOf, placeOf } from "./holders.js";
import { Places } from "./places.js";

/** Whoever waits for the answers to some ends of a sheet. */
interface Waiting {
  readonly onRecorded: OnRecorded;
  /** By turns the index that it knows an end by, and its place in the sheet. */
  readonly ends: number[];
}

/** A sheet, with the births that its ends cover. */
export interface HeldSheet {
  /** As a holder. */
  number: number;
  readonly sheet: EndSheet;
  readonly waiting: Waiting[];
  /** By their places; undefined: told before, or by another coordinator. */
  readonly births: (Births | undefined)[];
  readonly nths: number[];
  /** Monotonic ms at which the first of what it holds or covers was given. */
  givenAt: number;
  /** Of memory, with the births. Estimated. */
  bytes: number;
  /** Of that, without them. */
  rowBytes: number;
}

/** An end that is held in no sheet any longer. */
interface Freed {
  readonly told: Told;
  readonly birth: Birth | undefined;
}

/**
 * Ends in sheets of history: nearly all. None is an object here, and none is looked at again,
 * unless its sheet cannot be written or more is told of its task.
 */
export class HeldEnds {
  readonly #sheets: EndSheets | undefined;
  readonly #durability: Durability;
  /** By the number of its sheet, and its own there. */
  readonly #places: Places;
  /** Waiting or not. */
  readonly #held = new Holders<HeldSheet>();
  /** The oldest first; the last one is being filled. */
  #waiting: HeldSheet[] = [];
  #bytes = 0;
  /** To be filled next. */
  #blank: EndSheet | undefined;

  /** `seed`: as of Places. */
  constructor(sheets: EndSheets | undefined, durability: Durability, seed: number) {
    this.#sheets = sheets;
    this.#durability = durability;
    const idAt = (place: number): string => this.#held.of(place).sheet.taskIdOf(nthOf(place));
    this.#places = new Places((place, taskId) => idAt(place) === taskId, seed);
  }

  get size(): number {
    return this.#places.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Monotonic ms at which the first that waits was given. */
  get oldest(): number | undefined {
    return this.#waiting[0]?.givenAt;
  }

  /** False: it is not one of these, or is held already. */
  take(transition: Transition, givenAt: number): boolean {
    if (!this.#sheets) return false;
    const { id } = transition.task;
    if (this.#places.get(id) !== undefined) return false;
    const last = this.#waiting.at(-1);
    const taken = last && last.sheet.size < heldMost ? last.sheet.take(transition) : "full";
    if (taken === "refused") return false;
    const held = taken === "full" ? this.#begin(this.#sheets, transition, givenAt) : last;
    if (!held) return false;
    held.births.push(undefined);
    held.nths.push(0);
    this.#places.set(id, placeOf(held.number, held.sheet.size - 1));
    this.#grow(held, held.sheet.bytes - held.rowBytes);
    held.rowBytes = held.sheet.bytes;
    return true;
  }

  /** Undefined: not even on a new sheet. */
  #begin(sheets: EndSheets, first: Transition, givenAt: number): HeldSheet | undefined {
    // A sheet is large: one that takes nothing is kept for the next.
    const sheet = (this.#blank ??= sheets.create(this.#durability));
    if (sheet.take(first) !== "taken") return undefined;
    this.#blank = undefined;
    const none = { waiting: [], births: [], nths: [], bytes: 0, rowBytes: 0 };
    const held = { number: 0, sheet, givenAt, ...none };
    held.number = this.#held.add(held);
    this.#waiting.push(held);
    return held;
  }

  #grow(held: HeldSheet, bytes: number): void {
    held.bytes += bytes;
    this.#bytes += bytes;
  }

  /** Somebody waits for the answer to the end that was taken last. */
  await(onRecorded: OnRecorded, index: number): void {
    const { sheet, waiting } = this.#waiting.at(-1)!;
    let last = waiting.at(-1);
    if (last?.onRecorded !== onRecorded) waiting.push((last = { onRecorded, ends: [] }));
    last.ends.push(index, sheet.size - 1);
  }

  /** The birth of the task that was taken last, which needs no row of its own. */
  cover({ births, nth, givenAt }: Birth): void {
    const held = this.#waiting.at(-1)!;
    held.births[held.births.length - 1] = births;
    held.nths[held.nths.length - 1] = nth;
    held.givenAt = Math.min(held.givenAt, givenAt);
    this.#grow(held, Math.ceil(births.bytes / births.ids.length));
  }

  /** The oldest, of about so many tasks, to be written; they stay held. */
  takeDue(most: number): HeldSheet[] {
    let count = 0;
    let sheets = 0;
    while (sheets < this.#waiting.length && count < most) {
      count += this.#waiting[sheets]!.sheet.size;
      sheets += 1;
    }
    return this.#waiting.splice(0, sheets);
  }

  /** All that wait; to be dissolved. */
  takeAll(): HeldSheet[] {
    return this.#waiting.splice(0);
  }

  /** The sheet that this task waits in; to be dissolved. */
  takeSheetOf(taskId: string): HeldSheet | undefined {
    const place = this.#places.get(taskId);
    const at = place === undefined ? -1 : this.#waiting.indexOf(this.#held.of(place));
    return at < 0 ? undefined : this.#waiting.splice(at, 1)[0];
  }

  /** They wait again, before all others. */
  giveBack(sheets: readonly HeldSheet[]): void {
    this.#waiting = [...sheets, ...this.#waiting];
  }

  /** Lets go of what a sheet held, and tells all of it. */
  *dissolve(held: HeldSheet): Generator<Freed> {
    this.dismiss(held);
    const { sheet, births, nths, givenAt } = held;
    for (let nth = 0; nth < sheet.size; nth += 1) {
      const of = births[nth];
      yield { told: sheet.toldOf(nth), birth: of && { births: of, nth: nths[nth]!, givenAt } };
    }
  }

  /** Frees the memory of a sheet that is answered or given up. */
  dismiss(held: HeldSheet): void {
    const { number, sheet } = held;
    this.#bytes -= held.bytes;
    for (let nth = 0; nth < sheet.size; nth += 1) {
      this.#places.delete(sheet.taskIdOf(nth), placeOf(number, nth));
    }
    this.#held.delete(number);
  }

  clear(): void {
    this.#places.clear();
    this.#held.clear();
    this.#waiting = [];
    this.#bytes = 0;
  }
}
