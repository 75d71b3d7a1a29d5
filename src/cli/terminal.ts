import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";

/** What a command talks to: the process's own streams, or a test's. */
export interface Terminal {
  /** A person reads: tables with colour, times as ages. Otherwise lines for programs. */
  readonly tty: boolean;
  /** Width of the terminal. */
  readonly columns: number;
  /** Level of colour for ansis; undefined: as NO_COLOR, FORCE_COLOR and the terminal say. */
  readonly colour: number | undefined;
  /** Writes one line, or several, to stdout. */
  print(text: string): void;
  /** Writes a line to stderr: what is not the answer itself. */
  note(text: string): void;
  /** Bytes of stdin ("-") or of a file; a little over `limit` at most, so that excess is seen. */
  read(source: string, limit: number): Promise<Buffer>;
  /** Exit code of the process once the command has ended. */
  exitCode(code: number): void;
}

const fallbackColumns = 80;

export function processTerminal(): Terminal {
  const { stdout, stderr, stdin } = process;
  return {
    tty: stdout.isTTY,
    get columns() {
      return stdout.columns || fallbackColumns;
    },
    colour: undefined,
    print: (text) => {
      quietPipe();
      stdout.write(`${text}\n`);
    },
    note: (text) => void stderr.write(`${text}\n`),
    read: (source, limit) =>
      readBounded(source === "-" ? stdin : createReadStream(source, { end: limit }), limit),
    exitCode: (code) => {
      process.exitCode = code;
    },
  };
}

let quiet = false;

/** `drover task list | head` closes the pipe early: that is no defect. */
function quietPipe(): void {
  if (quiet) return;
  quiet = true;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}

async function readBounded(stream: Readable, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > limit) break;
  }
  return Buffer.concat(chunks);
}
