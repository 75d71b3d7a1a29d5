import { Code } from "../errors.js";
import { type Refusal, refusal } from "../transport/status.js";

/** What every call of the client throws when it does not succeed. */
export class DroverClientError extends Error {
  /** The gRPC status number, e.g. 5 for NOT_FOUND. 14 and 4 mean: the outcome is unknown. */
  readonly code: Code;
  /** Stable word for programs: of Drover's catalog, or the name of the gRPC code. */
  readonly id: string;
  /** Path of the offending field, e.g. `task.priority`. */
  readonly field: string | undefined;
  /** How to mend it. */
  readonly hint: string | undefined;
  /** When to try again, in ms. */
  readonly retryAfterMs: number | undefined;
  /** What the task is instead, e.g. `completed`, where that is why the call was refused. */
  readonly status: string | undefined;

  constructor(of: Refusal, options?: ErrorOptions) {
    super(of.message, options);
    this.name = "DroverClientError";
    this.code = of.code;
    this.id = of.id;
    this.field = of.field;
    this.hint = of.hint;
    this.retryAfterMs = of.retryAfterMs;
    this.status = of.status;
  }
}

/** A request that no coordinator needs to see to refuse it. */
export function invalid(id: string, field: string, message: string, hint: string): Error {
  return new DroverClientError({ ...refusal(Code.invalidArgument, id, message), field, hint });
}

export const clientClosed = (): DroverClientError =>
  new DroverClientError(
    refusal(Code.cancelled, "client_closed", "the client is closed; make a new one"),
  );
