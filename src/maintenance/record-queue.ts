import type { Births, Transition } from "../broker/broker.js";
import { ChurnMap } from "../churn.js";
import type { OnRecorded } from "../coordinator/recorder.js";
import type { EndSheets } from "../history/history.js";
import { type Birth, HeldBirths, type Readiness } from "./held-births.js";
import { HeldEnds, type HeldSheet } from "./held-ends.js";
import { LaterAnswers } from "./later-answers.js";
import { Entry } from "./record-entry.js";

/** Entries on their way to history; all of a task that travel together stand side by side. */
export interface Batch {
  readonly entries: readonly Entry[];
  readonly groups: readonly TaskEntries[];
}

interface Taken {
  readonly entries: Entry[];
  readonly groups: TaskEntries[];
}

/** Tasks first given by `until` (monotonic ms); by `liveUntil`, as far as they have not ended. */
export interface Which {
  readonly until: number;
  /** Default `until`. */
  readonly liveUntil?: number;
  /** Which of the births that are due. Default any. */
  readonly births?: Readiness;
}

/** Tasks of which somebody waits for an answer, and those that nobody waits for. */
export type Line = "awaited" | "gathered";

/** What is held of one task. */
interface TaskEntries {
  readonly taskId: string;
  /** Not yet dismissed, in the order given. */
  readonly entries: Entry[];
  flying: boolean;
}

/**
 * Transitions by task, oldest task first, in two lines. A task that is in flight is not taken again
 * before it is back.
 */
export class RecordQueue {
  readonly #tasks = new ChurnMap<string, TaskEntries>();
  /** Of which something waits. */
  readonly #lines: Record<Line, Set<TaskEntries>> = { awaited: new Set(), gathered: new Set() };
  readonly births: HeldBirths;
  /** Those of RELAXED tasks, for which nobody waits, and those of DURABLE ones. */
  readonly ends: HeldEnds;
  readonly awaitedEnds: HeldEnds;
  #bytes = 0;
  #count = 0;

  /** `sheets`: where history holds ends better than this does. `seed`: as of Places. */
  constructor(sheets: EndSheets | undefined, seed: number) {
    this.births = new HeldBirths(seed);
    this.ends = new HeldEnds(sheets, "relaxed", seed);
    this.awaitedEnds = new HeldEnds(sheets, "durable", seed);
  }

  /** Of all entries not yet dismissed, waiting or not. */
  get bytes(): number {
    return this.#bytes + this.births.bytes + this.ends.bytes + this.awaitedEnds.bytes;
  }

  /** Entries not yet dismissed. */
  get count(): number {
    return this.#count + this.births.size + this.ends.size + this.awaitedEnds.size;
  }

  /** All entries not yet dismissed. */
  held(): Entry[] {
    this.#dissolveAll();
    for (const birth of this.births.takeDue(always, always, "any")) {
      this.#addAlone(birth);
    }
    return [...this.#tasks.values()].flatMap(({ entries }) => entries);
  }

  /**
   * The same outbox entry, given before and not yet dismissed: an outbox drain meets what its
   * recorder still holds.
   */
  find(transition: Transition): Entry | undefined {
    if (transition.outboxId === undefined) return undefined;
    this.#meet(transition.task.id);
    if (this.births.has(transition)) this.#addAlone(this.births.take(transition.task.id)!);
    const known = this.#tasks.get(transition.task.id);
    return known?.entries.find((entry) => entry.tells(transition));
  }

  /** Nobody waits for them, and they are new. */
  addBirths(births: Births, givenAt: number): void {
    this.births.add(births, givenAt);
  }

  /**
   * An end for which nobody waits, where history holds such ends in sheets. False: it is to be
   * added as any other.
   */
  takeEnd(transition: Transition, givenAt: number): boolean {
    const { id } = transition.task;
    if (this.#holdsOther(id) || !this.ends.take(transition, givenAt)) return false;
    const birth = this.births.take(id);
    if (birth) this.ends.cover(birth);
    return true;
  }

  /** The same of an end for which `onRecorded` waits, which knows it by this index. */
  takeAwaitedEnd(
    transition: Transition,
    givenAt: number,
    onRecorded: OnRecorded,
    index: number,
  ): boolean {
    const { id } = transition.task;
    if (this.#holdsOther(id) || !this.awaitedEnds.take(transition, givenAt)) return false;
    this.awaitedEnds.await(onRecorded, index);
    return true;
  }

  /** Nearly always nothing does; then the id is not hashed for it. */
  #holdsOther(taskId: string): boolean {
    return this.#tasks.size > 0 && this.#tasks.has(taskId);
  }

  /** These sheets of `ends` cannot be written as they are: what they hold waits as any other. */
  dissolve(ends: HeldEnds, sheets: readonly HeldSheet[]): void {
    for (const sheet of sheets) {
      const entries: Entry[] = [];
      const { waiting } = sheet;
      for (const { told, birth } of ends.dissolve(sheet)) {
        const entry = new Entry(told, told, waiting.length > 0, sheet.givenAt);
        entries.push(entry);
        if (birth && !entry.coverBirth(birth)) this.#addAlone(birth);
        this.#add(entry);
      }
      for (const { onRecorded, ends: awaited } of waiting) {
        const later = new LaterAnswers(onRecorded);
        for (let n = 0; n < awaited.length; n += 2) {
          later.await(awaited[n]!, entries[awaited[n + 1]!]!.done);
        }
      }
    }
  }

  #dissolveAll(): void {
    for (const ends of [this.ends, this.awaitedEnds]) this.dissolve(ends, ends.takeAll());
  }

  /** Something else is told of a task: it must not come before what its sheet holds. */
  #meet(taskId: string): void {
    for (const ends of [this.ends, this.awaitedEnds]) {
      const sheet = ends.takeSheetOf(taskId);
      if (sheet) this.dissolve(ends, [sheet]);
    }
  }

  /** A birth that its task's end is not to cover. */
  #addAlone(birth: Birth): void {
    this.#add(entryOf(birth));
  }

  add(entry: Entry): void {
    this.#meet(entry.taskId);
    const birth = this.births.take(entry.taskId);
    if (birth && !entry.coverBirth(birth)) this.#addAlone(birth);
    this.#add(entry);
  }

  #add(entry: Entry): void {
    this.#bytes += entry.bytes;
    const { taskId } = entry;
    const known = this.#tasks.get(taskId);
    if (known && covers(entry, known)) {
      known.entries[0] = entry;
      return;
    }
    this.#count += 1;
    if (known) known.entries.push(entry);
    const group = known ?? { taskId, entries: [entry], flying: false };
    if (!known) this.#tasks.set(taskId, group);
    this.#standInLine(group, entry.awaited);
  }

  /** What is gathered of a task goes with what somebody waits for. */
  #standInLine(group: TaskEntries, awaited: boolean): void {
    const lines = this.#lines;
    if (awaited) lines.gathered.delete(group);
    if (awaited || !lines.awaited.has(group)) lines[awaited ? "awaited" : "gathered"].add(group);
  }

  /**
   * Monotonic ms at which the longest waiting task of the line was given; undefined if none may fly
   * now.
   */
  oldest(line: Line): number | undefined {
    const born = line === "gathered" ? this.births.oldest : undefined;
    for (const group of this.#lines[line]) {
      if (group.flying) continue;
      const { givenAt } = firstWaiting(group);
      return born === undefined ? givenAt : Math.min(born, givenAt);
    }
    return born;
  }

  /** Tasks of the line, of which some may be flying. */
  waiting(line: Line): number {
    const { births, ends } = this;
    return this.#lines[line].size + (line === "gathered" ? births.size + ends.size : 0);
  }

  /**
   * Takes whole tasks, up to about `maxEntries` and `maxBytes`, at least one; empty if none may fly
   * now.
   */
  take(line: Line, which: Which, maxEntries: number, maxBytes: number): Batch {
    const { until, liveUntil = until, births = "any" } = which;
    const batch: Taken = { entries: [], groups: [] };
    let bytes = line === "gathered" ? this.#takeBirths(batch, liveUntil, maxEntries, births) : 0;
    for (const group of this.#lines[line]) {
      if (batch.entries.length >= maxEntries || bytes >= maxBytes) break;
      if (group.flying) continue;
      const { givenAt } = firstWaiting(group);
      if (givenAt > until) break;
      if (givenAt > liveUntil && !hasEnded(group)) continue;
      let left = false;
      for (const entry of group.entries) {
        if (!entry.waiting) continue;
        left = batch.entries.length === maxEntries;
        if (left) break;
        entry.waiting = false;
        batch.entries.push(entry);
        bytes += entry.bytes;
      }
      if (!left) this.#lines[line].delete(group);
      group.flying = true;
      batch.groups.push(group);
    }
    return batch;
  }

  /** Those whose time has come stand in no line before. Returns their bytes. */
  #takeBirths({ entries, groups }: Taken, until: number, most: number, which: Readiness): number {
    let bytes = 0;
    for (const birth of this.births.takeDue(until, most, which)) {
      const entry = entryOf(birth);
      // It came late: something else of its task stands there.
      if (this.#tasks.has(entry.taskId)) {
        this.#add(entry);
        continue;
      }
      const group = { taskId: entry.taskId, entries: [entry], flying: true };
      entry.waiting = false;
      this.#tasks.set(entry.taskId, group);
      this.#count += 1;
      bytes += entry.bytes;
      entries.push(entry);
      groups.push(group);
    }
    this.#bytes += bytes;
    return bytes;
  }

  /** The batch is back; its tasks may fly again. */
  landed(batch: Batch): void {
    for (const group of batch.groups) group.flying = false;
  }

  /** Puts entries that are still held before all that wait, in their order. */
  giveBack(entries: readonly Entry[]): void {
    const back = new Set<TaskEntries>();
    for (const entry of entries) {
      if (entry.dismissed) continue;
      entry.waiting = true;
      back.add(this.#tasks.get(entry.taskId)!);
    }
    if (back.size === 0) return;
    const all = new Set([...back, ...this.#lines.awaited, ...this.#lines.gathered]);
    for (const line of Object.values(this.#lines)) line.clear();
    for (const group of all) this.#standInLine(group, group.entries.some(isAwaited));
  }

  /** Frees the memory of entries that are answered or given up. */
  dismiss(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.dismissed) continue;
      entry.dismissed = true;
      this.#count -= 1;
      this.#bytes -= entry.bytes;
      const group = this.#tasks.get(entry.taskId)!;
      if (group.entries.length === 1) this.#tasks.delete(group.taskId);
      else group.entries.splice(group.entries.indexOf(entry), 1);
    }
  }

  /** Gives up everything, waiting or not. */
  clear(): Entry[] {
    this.births.clear();
    this.ends.clear();
    const held = this.held();
    for (const line of Object.values(this.#lines)) line.clear();
    this.dismiss(held);
    return held;
  }
}

function entryOf({ births, nth, givenAt }: Birth): Entry {
  const told = births.transitionOf(nth);
  return new Entry(told, told, false, givenAt);
}

const always = Number.POSITIVE_INFINITY;
const isWaiting = (entry: Entry): boolean => entry.waiting;
/** Most have but one. */
function firstWaiting({ entries }: TaskEntries): Entry {
  const first = entries[0]!;
  return first.waiting ? first : entries.find(isWaiting)!;
}
function covers(entry: Entry, { entries }: TaskEntries): boolean {
  const [only] = entries;
  if (entries.length !== 1 || !entry.covers(only!)) return false;
  entry.cover(only!);
  return true;
}

function hasEnded({ entries }: TaskEntries): boolean {
  const last = entries.at(-1)!;
  return (last.waiting ? last : entries.findLast(isWaiting)!).isFinal;
}
const isAwaited = (entry: Entry): boolean => entry.waiting && entry.awaited;
