import type { Terminal } from "../../src/cli/terminal.js";

export interface FakeTerminal extends Terminal {
  /** What was printed, line by line. */
  readonly lines: string[];
  readonly notes: string[];
  code: number;
}

/** `files` stand for stdin ("-") and the file system. */
export function fakeTerminal(
  options: { tty?: boolean; columns?: number; files?: Record<string, string> } = {},
): FakeTerminal {
  const lines: string[] = [];
  const notes: string[] = [];
  return {
    tty: options.tty ?? false,
    columns: options.columns ?? 80,
    colour: 0,
    lines,
    notes,
    code: 0,
    print: (text) => void lines.push(...text.split("\n")),
    note: (text) => void notes.push(text),
    read: (source, limit) =>
      Promise.resolve(Buffer.from(options.files?.[source] ?? "").subarray(0, limit + 1)),
    exitCode(code) {
      this.code = code;
    },
  };
}
