import { isBadRow, mayRepeat, sqlState } from "./failures.js";
import type { Copy, Step } from "./copy.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";
import { copiesOf } from "./copies.js";
import type { Born } from "./written.js";

const storeNow = sql("store_now");

/** What is known of a database: its time, as it told it last, and whether it takes a COPY. */
interface Known {
  toldMs: number;
  /** Monotonic ms. */
  toldAt: number;
  restsUntil: number;
}

const knownOf = new WeakMap<Database, Known>();

/** Its clock may be set anew: what it told longer ago is asked again. */
const staleMs = 60_000;
/** A COPY whose outcome is unknown may never work, as behind some proxies. */
const restMs = 60_000;

function known(database: Database): Known {
  const stands = knownOf.get(database);
  if (stands) return stands;
  const none = Number.NEGATIVE_INFINITY;
  const fresh = { toldMs: 0, toldAt: none, restsUntil: none };
  knownOf.set(database, fresh);
  return fresh;
}

/**
 * Writes rows none of which should stand, in id order, and runs a statement behind them, which
 * answers the store's time, and perhaps one ahead; in one transaction. It is a first try, which
 * costs half of what a look at each row does. False: nothing is written, because a row stands or is
 * refused.
 */
export function copyBorn(
  database: Database,
  rows: readonly Born[],
  last: Step,
  first?: Step,
): Promise<boolean> {
  return copyAll(database, (now) => copiesOf(rows, now), last, first);
}

/** The same of rows in any order, which are written once the store's time is known. */
export async function copyAll(
  database: Database,
  copiesAt: (now: number) => Copy[],
  last: Step,
  first?: Step,
): Promise<boolean> {
  const state = known(database);
  if (database.clock.monotonic() < state.restsUntil) return false;
  const now = await nowOf(database, state);
  try {
    const copies = copiesAt(now);
    tell(database, state, await database.copy({ first, copies, last }));
    return true;
  } catch (error) {
    if (isBadRow(error) || mayRepeat(error)) return false;
    if (!isAnswer(error)) state.restsUntil = database.clock.monotonic() + restMs;
    throw error;
  }
}

const isAnswer = (error: unknown): boolean =>
  sqlState(error instanceof Error && error.cause ? error.cause : error) !== undefined;

async function nowOf(database: Database, state: Known): Promise<number> {
  if (database.clock.monotonic() - state.toldAt > staleMs) {
    const [row] = await database.rows<{ now: number }>(storeNow);
    tell(database, state, row!.now);
  }
  return Math.floor(state.toldMs + database.clock.monotonic() - state.toldAt);
}

function tell(database: Database, state: Known, now: number): void {
  state.toldMs = now;
  state.toldAt = database.clock.monotonic();
}
