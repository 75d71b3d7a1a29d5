import type pg from "pg";
import type { Statement } from "./sql.js";

/** With values for its parameters: as text, or bytes in Postgres's binary form. */
export interface Step {
  readonly statement: Statement;
  readonly values: readonly (string | Buffer | null)[];
}

export interface Copy {
  readonly statement: Statement;
  /** Messages of the protocol: the rows and their end. */
  readonly rows: Buffer;
}

/** COPYs between two statements, in one transaction and one round trip. */
export interface Copying {
  readonly first: Step | undefined;
  readonly copies: readonly Copy[];
  readonly last: Step;
}

type Answered = (error: Error | null, answer?: string | null) => void;

/** Names under which statements are prepared on a connection. */
const prepared = new WeakMap<pg.Connection, Map<Statement, string>>();
let uses = 0;

/**
 * A query of its own kind, as pg takes them: all is sent at once, without waiting for the server to
 * ask for the rows. If a COPY fails, the server reads past the rest.
 */
export class CopyQuery implements pg.Submittable {
  /** With the first column of what the last statement answered. pg wraps it, for its deadline. */
  callback: Answered;
  readonly #copying: Copying;
  readonly #fresh = new Map<Statement, string>();
  #known = new Map<Statement, string>();
  #answer: string | null | undefined;
  #failed = false;

  constructor(copying: Copying, callback: Answered) {
    this.#copying = copying;
    this.callback = callback;
  }

  submit(connection: pg.Connection): void {
    const { first, copies, last } = this.#copying;
    this.#known = prepared.get(connection) ?? this.#known;
    prepared.set(connection, this.#known);
    connection.stream.cork();
    if (first) this.#execute(connection, first);
    for (const { statement, rows } of copies) {
      this.#execute(connection, { statement, values: [] });
      connection.stream.write(rows);
    }
    this.#execute(connection, last);
    connection.sync();
    connection.stream.uncork();
  }

  #execute(connection: pg.Connection, { statement, values }: Step): void {
    let name = this.#known.get(statement);
    if (name === undefined) {
      // After a failure nobody knows what was prepared: the next one takes another name.
      name = `${statement.name}/${(uses += 1)}`;
      this.#fresh.set(statement, name);
      connection.parse({ name, text: statement.text, types: [] }, true);
    }
    connection.bind({ statement: name, values: [...values] }, true);
    connection.execute(null, true);
  }

  handleDataRow({ fields }: { fields: (string | null)[] }): void {
    this.#answer = fields[0];
  }

  handleError(error: Error): void {
    this.#failed = true;
    this.callback(error);
  }

  handleReadyForQuery(): void {
    if (this.#failed) return;
    for (const [statement, name] of this.#fresh) this.#known.set(statement, name);
    this.callback(null, this.#answer);
  }

  handleCopyInResponse(): void {}
  handleCommandComplete(): void {}
}
