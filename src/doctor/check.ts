export type Subject = "redis" | "postgres" | "clocks" | "partitions" | "work" | "structures";

/** One line of the doctor's. */
export interface Check {
  readonly subject: Subject;
  readonly name: string;
  /**
   * warn: look at it; what Drover promises still holds, unless `breaks` names a promise. fail: it
   * does not work.
   */
  readonly level: "ok" | "warn" | "fail";
  /** What was found. */
  readonly says: string;
  /** How to mend it. */
  readonly mend?: string | undefined;
  /** The promise that does not hold, as the design numbers it. */
  readonly breaks?: string | undefined;
  /** A store did not answer: nothing is known of what it holds. */
  readonly unreachable?: boolean | undefined;
}

/** What a check adds to its name when all is not well. */
export type Trouble = Pick<Check, "mend" | "breaks" | "unreachable">;

export interface Chart {
  readonly checks: Check[];
  ok(name: string, says: string): void;
  warn(name: string, says: string, trouble: Trouble): void;
  fail(name: string, says: string, trouble: Trouble): void;
}

/** Gathers the checks of a subject. */
export function createChart(subject: Subject): Chart {
  const checks: Check[] = [];
  const add = (level: Check["level"]) => (name: string, says: string, trouble: Trouble) => {
    checks.push({ subject, name, level, says, ...trouble });
  };
  return {
    checks,
    ok: (name, says) => void checks.push({ subject, name, level: "ok", says }),
    warn: add("warn"),
    fail: add("fail"),
  };
}

/** What went wrong, in one line. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(reasonOf).join("; ");
  }
  if (!(error instanceof Error)) return "no answer in 2 s";
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : "";
  return `${error.message}${error.message.includes(cause.slice(2, -1)) ? "" : cause}`;
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes for people. */
export function bytesText(bytes: number): string {
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${Number(size.toFixed(1))} ${units[unit]}`;
}
