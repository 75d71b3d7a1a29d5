import type { RecordedItem } from "../../broker/broker.js";
import type { Durability, Task } from "../../task/task.js";
import type { EndSheet, EndSheets, Told } from "../history.js";
import { copyAll } from "./copied.js";
import { copyRows, type PlainShape, plainShapes, writePlain } from "./copies.js";
import type { Copy } from "./copy.js";
import { type CountChange, endedParameters } from "./counts.js";
import { EarlyRow, earlyShapeOf, rowMost } from "./early-rows.js";
import { type Replaced, replacing } from "./guessed.js";
import { bigint } from "./literals.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";
import { RowWriter } from "./wire.js";

const countCopied = sql("count_copied");

const sheetBytes = 112 * 1024;
/** What a row takes beside its bytes. */
const overheadBytes = 192;
/** Buffers of sheets that are written, for those to come. */
const sparesMost = 16;
const spares: Buffer[] = [];

/** Of rows that follow each other: what they have in common, and how many they are. */
interface Kind {
  readonly partition: number;
  readonly namespace: string;
  readonly queue: string;
  readonly status: "completed";
  readonly retentionMs: number;
  tasks: number;
}

/**
 * The message of a COPY to be, but for the two columns of each row that the store's clock decides.
 * An end takes no object of its own here: what waits outlives a collection of the young, where
 * copying objects costs more than making them.
 */
class PostgresSheet implements EndSheet {
  readonly #durability: Durability;
  readonly #buffer = spares.pop() ?? Buffer.allocUnsafe(sheetBytes);
  /** The first row decides, by its spec. */
  #shape: PlainShape = "default";
  #rows = rowsIn(this.#buffer, this.#shape);
  readonly #ids: string[] = [];
  readonly #outboxIds: string[] = [];
  /** Lists that grow leave three times what they hold to collect. */
  readonly #outboxPlaces = new Uint32Array(copyRows);
  readonly #versions = new Float64Array(copyRows);
  readonly #from = new Uint32Array(copyRows);
  /** Where the rows lack their last two columns. */
  readonly #to = new Uint32Array(copyRows);
  /** Places of those whose births history holds: their rows are replaced. */
  readonly #standing: number[] = [];
  readonly #kinds: Kind[] = [];
  readonly #ownKinds: Kind[] = [];
  #before: Task | undefined;
  #tries = 0;

  constructor(durability: Durability) {
    this.#durability = durability;
  }

  get size(): number {
    return this.#ids.length;
  }

  get bytes(): number {
    return this.#rows.length + this.size * overheadBytes;
  }

  /** How many ended, by neighbours. */
  get counts(): readonly CountChange[] {
    return this.#ownKinds;
  }

  /** What is to be replaced. */
  get standing(): RecordedItem[] {
    return this.#standing.map((nth) => this.itemOf(nth));
  }

  take(told: Told): "taken" | "full" | "refused" {
    const { task, outboxId } = told;
    const { payload } = task;
    if (task.status !== "completed" || task.durability !== this.#durability) return "refused";
    if (outboxId === undefined || !payload || !told.attempt) return "refused";
    const shape = earlyShapeOf(told, payload);
    if (!shape) return "refused";
    if (!this.#hasRoomFor(shape)) return "full";
    const rows = this.#rows;
    const nth = this.size;
    if (told.payloadOmitted) this.#standing.push(nth);
    this.#from[nth] = rows.length;
    rows.begin();
    writePlain(rows, { task, payload }, this.#shape, this.#before);
    this.#to[nth] = rows.later(2);
    rows.end();
    this.#before = task;
    this.#ids.push(task.id);
    this.#outboxIds.push(outboxId);
    this.#outboxPlaces[nth] = told.outboxPlace;
    this.#versions[nth] = task.version;
    this.#kinds.push(this.#kindOf(told.partition, task));
    return "taken";
  }

  /** A row of another shape than the first one's has room where that names its spec as well. */
  #hasRoomFor(shape: PlainShape): boolean {
    if (this.size === 0 && shape !== this.#shape) {
      this.#shape = shape;
      this.#rows = rowsIn(this.#buffer, shape);
    }
    if (this.size >= copyRows || this.#rows.length > sheetBytes - rowMost) return false;
    return shape === this.#shape || this.#shape === "plain";
  }

  #kindOf(partition: number, { namespace, queue, retentionMs }: Task): Kind {
    const last = this.#ownKinds.at(-1);
    const isAlike =
      last?.queue === queue &&
      last.namespace === namespace &&
      last.partition === partition &&
      last.retentionMs === retentionMs;
    if (isAlike) {
      last.tasks += 1;
      return last;
    }
    const kind: Kind = { partition, namespace, queue, status: "completed", retentionMs, tasks: 1 };
    this.#ownKinds.push(kind);
    return kind;
  }

  taskIdOf(nth: number): string {
    return this.#ids[nth]!;
  }

  itemOf(nth: number): RecordedItem {
    return {
      partition: this.#kinds[nth]!.partition,
      outboxId: this.#outboxIds[nth]!,
      outboxPlace: this.#outboxPlaces[nth]!,
      taskId: this.#ids[nth]!,
      version: this.#versions[nth]!,
    };
  }

  toldOf(nth: number): Told {
    const { partition, namespace, queue, status, retentionMs } = this.#kinds[nth]!;
    const { outboxId, outboxPlace, taskId: id, version } = this.itemOf(nth);
    const payloadOmitted = this.#standing.includes(nth);
    const told = { partition, outboxId, outboxPlace, payloadOmitted };
    const gist = { id, namespace, queue, status, version, retentionMs };
    return new EarlyRow(told, gist, this.#shape, this.#rows, this.#from[nth]!, this.#to[nth]!);
  }

  /** All of them ended `now`, by the store's clock. */
  copyAt(now: number): Copy {
    this.#tries += 1;
    for (let nth = 0; nth < this.size; nth += 1) {
      const at = this.#to[nth]!;
      this.#rows.fill(at, 0, now);
      this.#rows.fill(at, 1, now + bigint(this.#kinds[nth]!.retentionMs));
    }
    return { statement: plainShapes[this.#shape].statement, rows: this.#rows.messages() };
  }

  /** A connection that did not answer the first try may be sending still. */
  free(): void {
    if (this.#tries === 1 && spares.length < sparesMost) spares.push(this.#buffer);
  }
}

const rowsIn = (buffer: Buffer, shape: PlainShape): RowWriter =>
  new RowWriter(undefined, plainShapes[shape].columns, buffer);

/** Rows are locked in this order everywhere. */
const byId = (a: RecordedItem, b: RecordedItem): number => (a.taskId < b.taskId ? -1 : 1);
/** Of the first run: every other is told elsewhere. */
const replaced = ({ taskId, version }: RecordedItem): Replaced => ({
  id: taskId,
  above: version,
  run: 1,
});

export function createSheets(database: Database, shard: number): EndSheets {
  return {
    create: (durability) => new PostgresSheet(durability),
    async record(given) {
      const sheets = given as readonly PostgresSheet[];
      const counts = sheets.flatMap((sheet) => sheet.counts);
      const last = { statement: countCopied, values: endedParameters(counts, shard) };
      const copiesAt = (now: number) => sheets.map((sheet) => sheet.copyAt(now));
      const standing = sheets.flatMap((sheet) => sheet.standing).sort(byId);
      const first = standing.length === 0 ? undefined : replacing(standing.map(replaced));
      const written = await copyAll(database, copiesAt, last, first);
      if (written) for (const sheet of sheets) sheet.free();
      return written;
    },
  };
}
