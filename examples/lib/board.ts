import Table from "cli-table3";

/** One line of the board: id, type, status, attempt, worker, result. */
export type Row = readonly string[];

export interface Board {
  /** Draws the rows; what did not change is not drawn again where there is no terminal. */
  show(rows: readonly Row[]): void;
  /** Leaves the last state standing. */
  end(): void;
}

const head = ["task", "type", "status", "attempt", "worker", "result"];

/** A table that is redrawn in place on a terminal, and plain lines for each change elsewhere. */
export function createBoard(out: NodeJS.WriteStream): Board {
  return out.isTTY ? new LiveBoard(out) : new PlainBoard(out);
}

class LiveBoard implements Board {
  readonly #out: NodeJS.WriteStream;
  #drawn = "";

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  show(rows: readonly Row[]): void {
    const text = this.#draw(rows);
    if (text === this.#drawn) return;
    const lines = this.#drawn === "" ? 0 : this.#drawn.split("\n").length;
    const back = lines === 0 ? "" : `\x1b[${lines}A\x1b[0J`;
    this.#out.write(`${back}${text}\n`);
    this.#drawn = text;
  }

  /** Fits the terminal: the last column gets what the others leave. */
  #draw(rows: readonly Row[]): string {
    const taken = head
      .slice(0, -1)
      .map(
        (title, column) =>
          Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)) + 2,
      );
    const left = (this.#out.columns || 120) - taken.reduce((sum, width) => sum + width + 1, 2);
    const table = new Table({
      head,
      style: { head: ["bold"], border: ["grey"] },
      colWidths: [...taken, Math.max(10, left)],
    });
    for (const row of rows) table.push([...row]);
    return table.toString();
  }

  end(): void {
    this.#drawn = "";
  }
}

class PlainBoard implements Board {
  readonly #out: NodeJS.WriteStream;
  readonly #last = new Map<string, string>();

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  show(rows: readonly Row[]): void {
    for (const [id = "", ...rest] of rows) {
      const line = rest.join("  ").trimEnd();
      if (this.#last.get(id) === line) continue;
      this.#last.set(id, line);
      this.#out.write(`${id}  ${line}\n`);
    }
  }

  end(): void {
    this.#last.clear();
  }
}
