/** What Drover logs through; pino's loggers are ones. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

type Level = keyof Logger;
const levels: readonly Level[] = ["debug", "info", "warn", "error"];

/** Lines on stderr from `info` up, for workers that bring no logger of their own. */
export const stderrLogger: Logger = {
  debug: () => undefined,
  info: (fields, message) => writeLine("info", fields, message),
  warn: (fields, message) => writeLine("warn", fields, message),
  error: (fields, message) => writeLine("error", fields, message),
};

function writeLine(level: Level, fields: object, message: string): void {
  const words = Object.entries(fields).map(([name, value]) => `${name}=${wordOf(value)}`);
  process.stderr.write(`${[`drover worker ${level}: ${message}`, ...words].join(" ")}\n`);
}

function wordOf(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}

/** The same logger with fields that stand in every line. */
export function withFields(logger: Logger, fields: object): Logger {
  const bound = {} as Logger;
  for (const level of levels) {
    bound[level] = (more, message) => logger[level]({ ...fields, ...more }, message);
  }
  return bound;
}
