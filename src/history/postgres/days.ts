import { isLockTimeout } from "./failures.js";
import type { Database } from "./pool.js";
import { sql } from "./sql.js";

const makeDaysSql = sql("make_days");

/** Makes the tables of today and the next days, so that none is made while tasks arrive for it. */
export async function makeDays(database: Database): Promise<void> {
  try {
    await database.rows(makeDaysSql);
  } catch (error) {
    // Until a later round makes them, rows go where all others without a day's table are.
    if (!isLockTimeout(error)) throw error;
  }
}
