import { v4, v7 } from "uuid";
import type { Clock, Random } from "../clock.js";

/** A UUIDv7 with the time of the clock. */
export const freshId = (clock: Clock, random: Random): string =>
  v7({ msecs: clock.now(), random: random.bytes(16) });

/** A UUID that says nothing. */
export const freshSessionId = (random: Random): string => v4({ random: random.bytes(16) });
