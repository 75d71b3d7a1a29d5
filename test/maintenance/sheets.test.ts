import { afterEach, describe, expect, it } from "vitest";
import type { Births, Transition } from "../../src/broker/broker.js";
import type {
  EndSheet,
  EndSheets,
  History,
  RecordOutcome,
  Told,
} from "../../src/history/history.js";
import { limits } from "../../src/limits.js";
import { heldMost } from "../../src/maintenance/holders.js";
import { type Durability, isFinal, type Task } from "../../src/task/task.js";
import { over, type Site, submit, Worker, World } from "./world.js";
import { itemOf } from "../support/outbox-items.js";

/** Of this many ends each. */
const sheetSize = 3;

class ListSheet implements EndSheet {
  readonly list: Told[] = [];
  readonly #durability: Durability;

  constructor(durability: Durability) {
    this.#durability = durability;
  }

  get size(): number {
    return this.list.length;
  }
  get bytes(): number {
    return 100 * this.list.length;
  }
  take(told: Told): "taken" | "full" | "refused" {
    const { durability, status, tags } = told.task;
    const isPlain = status === "completed" && told.outboxId !== undefined && tags.length === 0;
    if (!isPlain || durability !== this.#durability) return "refused";
    if (told.payloadOmitted !== (durability === "durable")) return "refused";
    if (this.list.length === sheetSize) return "full";
    this.list.push(told);
    return "taken";
  }
  taskIdOf = (nth: number): string => this.list[nth]!.task.id;
  itemOf(nth: number) {
    return itemOf(this.list[nth]!);
  }
  toldOf = (nth: number): Told => this.list[nth]!;
}

let world: World;
afterEach(() => world.stop());

interface Scene {
  readonly site: Site;
  readonly worker: Worker;
  /** Ids of each write, sheet by sheet; and of each write one by one. */
  readonly sheets: string[][][];
  readonly singles: string[][];
  /** Sheets that history made. */
  made: number;
  /** Called before sheets are written. */
  before: () => Promise<void>;
}

/** A memory history that takes ends in sheets, as Postgres does. */
async function start(): Promise<Scene> {
  const scene = {
    sheets: [],
    singles: [],
    made: 0,
    before: async () => undefined,
  } as unknown as Scene;
  const sheetsOf = (history: History): EndSheets => ({
    create(durability) {
      scene.made += 1;
      return new ListSheet(durability);
    },
    async record(given) {
      const lists = (given as readonly ListSheet[]).map(({ list }) => list);
      scene.sheets.push(lists.map((list) => list.map(({ task }) => task.id)));
      await scene.before();
      const all = lists.flat();
      const stored = await history.get(
        undefined,
        all.map(({ task }) => task.id),
      );
      const fits = (row: Task | undefined, nth: number): boolean =>
        all[nth]!.payloadOmitted ? row !== undefined && !isFinal(row.status) : row === undefined;
      if (!stored.every(fits)) return false;
      await history.record(all);
      return true;
    },
  });
  world = new World({
    wrapHistory: (history) =>
      over<History>(history, {
        sheets: sheetsOf(history),
        record(list) {
          scene.singles.push(list.map(({ task }) => task.id));
          return history.record(list);
        },
      }),
  });
  const site = await world.site();
  await site.broker.open(0, 1);
  await site.recorder.start();
  const worker = new Worker(site.broker);
  await worker.open();
  return Object.assign(scene, { site, worker });
}

/** Tasks as a call of their own brought them in. */
function birthsOf(list: readonly Transition[]): Births {
  return {
    partition: 0,
    ids: list.map(({ task }) => task.id),
    version: 1,
    bytes: 1_000,
    outboxIdOf: (nth) => list[nth]!.outboxId!,
    outboxPlaceOf: (nth) => list[nth]!.outboxPlace,
    transitionOf: (nth) => list[nth]!,
  };
}

/** Born by one call, and leased; answers the ends in the order of their births. */
async function run({ site, worker }: Scene, count: number, change = {}): Promise<Transition[]> {
  const births: Transition[] = [];
  for (let n = 0; n < count; n += 1) births.push(await world.relaxed(site, change));
  site.recorder.born(birthsOf(births));
  const leases = await worker.lease(births[0]!.task, count);
  const ends = await Promise.all(leases.map((lease) => worker.complete(lease)));
  return ends.map(({ transition }) => transition!);
}

/** Committed, then leased; answers the ends in the order of their births. */
async function runDurable(
  { site, worker }: Scene,
  count: number,
  change: Partial<Task> = {},
): Promise<Transition[]> {
  const tasks = Array.from({ length: count }, () =>
    world.tasks.task({ durability: "durable", ...change }),
  );
  for (const task of tasks) await submit(site, task);
  const leases = await worker.lease(tasks[0]!, count);
  const ends = await Promise.all(leases.map((lease) => worker.complete(lease)));
  return ends.map(({ transition }) => transition!);
}

/** What is heard of some ends that were given together. */
function record({ site }: Scene, ends: readonly Transition[]) {
  const heard: [readonly number[], RecordOutcome | undefined][] = [];
  site.recorder.recordAll(ends, (indexes, outcome) => heard.push([indexes, outcome]));
  return heard;
}

const idsOf = (list: readonly Transition[]) => list.map(({ task }) => task.id);
const isOver = async ({ site }: Scene) => {
  expect(await site.broker.readOutbox(0, 0, 100)).toEqual([]);
  expect(site.recorder.bytes).toBe(0);
  await world.clock.advance(limits.recordGatherMs);
  expect(world.clock.pending).toBe(0);
};

describe("ends for which nobody waits", () => {
  it("are gathered in sheets, written together with their births, and leave the outbox", async () => {
    const scene = await start();
    const ends = await run(scene, 5);
    for (const end of ends) scene.site.recorder.keep(end);
    expect(scene.site.recorder.bytes).toBe(1_500);
    expect(await scene.site.broker.readOutbox(0, 0, 100)).toHaveLength(10);
    await world.clock.advance(limits.recordGatherMs - 1);
    expect(scene.sheets).toEqual([]);
    await world.clock.advance(1);
    const ids = idsOf(ends);
    expect(scene.sheets).toEqual([[ids.slice(0, 3), ids.slice(3)]]);
    expect(scene.singles).toEqual([]);
    expect(ids.map((id) => world.row(id)?.status)).toEqual(ids.map(() => "completed"));
    expect(scene.site.count("history.recorded")).toBe(1);
    await isOver(scene);
  });

  it("wait for the flight before theirs", async () => {
    const scene = await start();
    let go: () => void = () => undefined;
    scene.before = () => new Promise((resolve) => (go = resolve));
    const [first, second] = await run(scene, 2);
    scene.site.recorder.keep(first!);
    await world.clock.advance(limits.recordGatherMs);
    scene.site.recorder.keep(second!);
    await world.clock.advance(5_000);
    expect(scene.sheets).toEqual([[[first!.task.id]]]);
    go();
    await world.turn();
    expect(scene.sheets[1]).toEqual([[second!.task.id]]);
    go();
    await world.turn();
    await isOver(scene);
  });

  it("fly no sooner after others than they would be gathered, however old what they cover is", async () => {
    const scene = await start();
    const [first, second] = await run(scene, 2);
    await world.clock.advance(40);
    scene.site.recorder.keep(first!);
    await world.clock.advance(60);
    expect(scene.sheets).toEqual([[[first!.task.id]]]);
    scene.site.recorder.keep(second!);
    await world.clock.advance(limits.recordGatherMs - 1);
    expect(scene.sheets).toHaveLength(1);
    await world.clock.advance(1);
    expect(scene.sheets[1]).toEqual([[second!.task.id]]);
    await isOver(scene);
  });

  it("are recorded one by one where history takes no such task, or not the sheet", async () => {
    const scene = await start();
    const tagged = await run(scene, 5, { tags: ["a"] });
    const ends = await run(scene, 4);
    const stands = { ...ends[1]!, task: { ...ends[1]!.task, status: "pending", version: 1 } };
    await scene.site.history.record([{ ...stands, attempt: undefined } as Transition]);
    scene.singles.length = 0;
    for (const end of [...tagged, ...ends]) scene.site.recorder.keep(end);
    expect(scene.made).toBe(2);
    await world.clock.advance(limits.recordGatherMs);
    await world.clock.advance(limits.recordGatherMs);
    expect(scene.sheets).toHaveLength(1);
    expect(scene.singles.flat().toSorted()).toEqual(idsOf([...ends, ...tagged]).toSorted());
    for (const { task } of [...ends, ...tagged]) {
      expect(world.row(task.id)).toMatchObject({ status: "completed", version: task.version });
    }
    await isOver(scene);
  });

  it("stay in their sheets while history is away", async () => {
    const scene = await start();
    const ends = await run(scene, 4);
    world.historyDown = true;
    for (const end of ends) scene.site.recorder.keep(end);
    await world.clock.advance(limits.recordGatherMs);
    expect(scene.sheets).toHaveLength(1);
    expect(scene.site.recorder.bytes).toBe(1_400);
    world.historyDown = false;
    await world.clock.advance(1_000);
    expect(scene.sheets).toEqual([scene.sheets[0], scene.sheets[0]]);
    expect(scene.singles).toEqual([]);
    await isOver(scene);
  });

  it("are no more than the recorder may hold", async () => {
    const scene = await start();
    const { recorder } = scene.site;
    world.historyDown = true;
    const [end] = await run(scene, 1);
    const large = Buffer.alloc(limits.unrecordedBytes);
    const task = { ...end!.task, result: { contentType: "", data: large } };
    recorder.keep({ ...end!, task });
    expect(recorder.bytes).toBe(1_000);
    recorder.keep(end!);
    expect(recorder.bytes).toBe(1_100);
    world.historyDown = false;
  });
});

describe("ends for which somebody waits", () => {
  it("fly at once in sheets, and are answered once the broker has heard of them", async () => {
    const scene = await start();
    const { broker } = scene.site;
    const recorded = broker.recorded.bind(broker);
    let tell: () => void = () => undefined;
    const telling = new Promise<void>((resolve) => (tell = resolve));
    broker.recorded = async (...args) => {
      await telling;
      return recorded(...args);
    };
    const ends = await runDurable(scene, 5);
    const { task } = ends[3]!;
    scene.site.recorder.running({ ...task, status: "running", version: task.version - 1 });
    const ids = idsOf(ends);
    const heard = record(scene, ends);
    await world.turn();
    expect(scene.sheets).toEqual([[ids.slice(0, 3), ids.slice(3)]]);
    expect(heard).toEqual([]);
    tell();
    await world.turn();
    expect(heard).toEqual([
      [[0, 1, 2], "applied"],
      [[3, 4], "applied"],
    ]);
    expect(ids.map((id) => world.row(id)?.status)).toEqual(ids.map(() => "completed"));
    await world.clock.advance(2 * limits.runningRecordDelayMs);
    expect(scene.singles).toEqual([]);
    await isOver(scene);
  });

  it("go together where a flight was out when they came, each answered to who gave it", async () => {
    const scene = await start();
    let go: () => void = () => undefined;
    scene.before = () => new Promise((resolve) => (go = resolve));
    const ends = await runDurable(scene, 3);
    const heard = [record(scene, [ends[0]!])];
    await world.turn();
    heard.push(record(scene, [ends[2]!]), record(scene, [ends[1]!]));
    await world.turn();
    expect(heard.flat()).toEqual([]);
    go();
    await world.turn();
    expect(heard).toEqual([[[[0], "applied"]], [], []]);
    go();
    await world.turn();
    expect(scene.sheets).toEqual([[[ends[0]!.task.id]], [idsOf([ends[2]!, ends[1]!])]]);
    expect(heard.slice(1)).toEqual([[[[0], "applied"]], [[[0], "applied"]]]);
    await isOver(scene);
  });

  it("are answered by what became of each where history takes no such task, or not the sheet", async () => {
    const scene = await start();
    const tagged = await runDurable(scene, 2, { tags: ["a"] });
    const ends = await runDurable(scene, 3);
    const other = { ...ends[1]!.task, status: "cancelled" as const };
    await scene.site.history.record([{ ...ends[1]!, task: other, attempt: undefined }]);
    const heard = record(scene, [tagged[0]!, ...ends, tagged[1]!]);
    await world.turn();
    expect(scene.sheets).toHaveLength(1);
    expect(heard.filter(([, outcome]) => outcome === "applied").flatMap(([at]) => at)).toEqual([
      0, 4, 1, 3,
    ]);
    expect(heard.filter(([, outcome]) => outcome !== "applied")).toEqual([[[2], "refused"]]);
    await isOver(scene);
  });

  it("wait while history is away", async () => {
    const scene = await start();
    const ends = await runDurable(scene, 4);
    world.historyDown = true;
    const heard = record(scene, ends);
    await world.clock.advance(10_000);
    expect(heard).toEqual([]);
    expect(scene.site.recorder.bytes).toBe(400);
    world.historyDown = false;
    await world.clock.advance(5_000);
    expect(heard.flatMap(([indexes]) => indexes)).toEqual([0, 1, 2, 3]);
    expect(scene.singles).toEqual([]);
    await isOver(scene);
  });

  it("are answered when others drain their entries, too", async () => {
    const scene = await start();
    const ends = await runDurable(scene, 2);
    world.historyDown = true;
    const heard = record(scene, ends);
    await world.turn();
    const drained = scene.site.recorder.record({ ...ends[1]! }, true);
    world.historyDown = false;
    await world.clock.advance(5_000);
    expect(await drained).toBe("applied");
    expect(heard).toEqual([[[0, 1], "applied"]]);
    await isOver(scene);
  });

  it("share the answer of an entry that was given before", async () => {
    const scene = await start();
    const ends = await runDurable(scene, 1);
    const drained = scene.site.recorder.record({ ...ends[0]! }, true);
    const heard = record(scene, ends);
    expect(await drained).toBe("applied");
    await world.turn();
    expect(heard).toEqual([[[0], "applied"]]);
    expect([scene.sheets, scene.singles]).toEqual([[], [idsOf(ends)]]);
    await isOver(scene);
  });

  it("are left to the outbox when the recorder stops, or has no room, and whoever waits hears it", async () => {
    const scene = await start();
    const ends = await runDurable(scene, 3);
    world.historyDown = true;
    const heard = record(scene, ends.slice(0, 2));
    await world.turn();
    const large = Buffer.alloc(limits.unrecordedBytes);
    const task = { ...ends[2]!.task, result: { contentType: "", data: large } };
    const refused = record(scene, [{ ...ends[2]!, task }]);
    await world.turn();
    expect(refused).toEqual([[[0], undefined]]);
    await scene.site.recorder.stop();
    await world.turn();
    expect(heard).toEqual([[[0, 1], undefined]]);
    expect(scene.site.recorder.bytes).toBe(0);
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toHaveLength(3);
    expect(world.clock.pending).toBe(0);
    world.historyDown = false;
  });
});

it("births of one call are found where they are more than are held together", async () => {
  const { site, singles } = await start();
  const births: Transition[] = [];
  for (let n = 0; n < heldMost + 3; n += 1) births.push(await world.relaxed(site));
  site.recorder.born(birthsOf(births));
  const answer = site.recorder.record({ ...births.at(-1)! }, true);
  await world.clock.advance(2 * limits.recordHoldMs);
  expect(await answer).toBe("applied");
  expect(singles.flat().toSorted()).toEqual(idsOf(births).toSorted());
});

describe("a held end", () => {
  it("is answered when somebody drains its entry, or that of its birth", async () => {
    const scene = await start();
    const { recorder, broker } = scene.site;
    const ends = await run(scene, 2);
    for (const end of ends) recorder.keep(end);
    recorder.keep({ ...ends[0]! });
    const left = await broker.readOutbox(0, 0, 10);
    const answers = left.map((entry) => recorder.record(entry, true));
    await world.clock.advance(limits.recordGatherMs);
    expect(await Promise.all(answers)).toEqual(left.map(() => "applied"));
    expect(scene.sheets).toEqual([]);
    expect(scene.singles.flat().toSorted()).toEqual(idsOf(ends).toSorted());
    await isOver(scene);
  });

  it("is found in whichever sheet it stands", async () => {
    const scene = await start();
    const { recorder } = scene.site;
    const ends = await run(scene, 8);
    for (const end of ends) recorder.keep(end);
    const answer = recorder.record({ ...ends[4]! }, true);
    await world.clock.advance(2 * limits.recordGatherMs);
    expect(await answer).toBe("applied");
    expect(scene.sheets).toEqual([[idsOf(ends.slice(0, 3)), idsOf(ends.slice(6))]]);
    expect(scene.singles.flat()).toEqual(idsOf(ends.slice(3, 6)));
    await isOver(scene);
  });

  it("is written before what is told of its task later", async () => {
    const scene = await start();
    const { recorder } = scene.site;
    const [end] = await run(scene, 1);
    recorder.keep(end!);
    const again = { ...end!.task, status: "pending" as const, run: 2, version: 9 };
    const next = { ...end!, outboxId: undefined, task: again, payloadOmitted: true };
    const answer = recorder.record({ ...next, attempt: undefined }, true);
    expect(await answer).toBe("applied");
    expect(scene.singles).toEqual([[end!.task.id, end!.task.id]]);
    expect(world.row(end!.task.id)).toMatchObject({ status: "pending", run: 2 });
    await isOver(scene);
  });

  it("does no harm when it comes again while its sheet flies", async () => {
    const scene = await start();
    const { recorder } = scene.site;
    let go: () => void = () => undefined;
    scene.before = () => new Promise((resolve) => (go = resolve));
    const [end] = await run(scene, 1);
    recorder.keep(end!);
    await world.clock.advance(limits.recordGatherMs);
    expect(await recorder.record({ ...end! }, true)).toBe("applied");
    go();
    await world.turn();
    await world.clock.advance(1_000);
    expect(world.row(end!.task.id)).toMatchObject({ status: "completed" });
    expect(await scene.site.history.attempts("default", end!.task.id)).toHaveLength(1);
    await isOver(scene);
  });

  it("is written at once by a flush, which waits until the broker has heard of it", async () => {
    const scene = await start();
    for (const end of await run(scene, 4)) scene.site.recorder.keep(end);
    await scene.site.recorder.flush();
    await isOver(scene);
  });

  it("is left to the outbox when the recorder stops", async () => {
    const scene = await start();
    const [end] = await run(scene, 1);
    scene.site.recorder.keep(end!);
    await scene.site.recorder.stop();
    expect(scene.site.recorder.bytes).toBe(0);
    expect(world.row(end!.task.id)).toBeUndefined();
    expect(await scene.site.broker.readOutbox(0, 0, 10)).toHaveLength(2);
    expect(world.clock.pending).toBe(0);
  });
});
