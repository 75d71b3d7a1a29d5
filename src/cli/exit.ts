import { Code } from "../errors.js";

/** How `drover` ends. Documented in --help; a number once given keeps its meaning. */
export const Exit = Object.freeze({
  ok: 0,
  /** The task waited for ended, but not completed; what doctor or a check looked at is not well. */
  notCompleted: 1,
  /** The command or a setting is wrong; nothing was done. */
  usage: 2,
  notFound: 3,
  /** Refused, or in conflict with what is there. */
  refused: 4,
  /** No answer, or not in time: try again. What a submission did is unknown. */
  unavailable: 5,
  /** Drover's own fault. */
  defect: 70,
});

export const exitHelp = `
Exit codes: 0 done; 1 the task waited for ended, but not completed (doctor: a promise does not
hold; migrate --check: something is pending); 2 wrong usage or settings;
3 not found; 4 refused or in conflict; 5 unavailable or too late: try again; 70 a defect in Drover.
DROVER_ADDR says where coordinators are (default localhost:50051); DROVER_DEBUG=1 shows stacks.`;

const byCode = new Map<number, number>([
  [Code.invalidArgument, Exit.usage],
  [Code.outOfRange, Exit.usage],
  [Code.notFound, Exit.notFound],
  [Code.alreadyExists, Exit.refused],
  [Code.failedPrecondition, Exit.refused],
  [Code.aborted, Exit.refused],
  [Code.permissionDenied, Exit.refused],
  [Code.unauthenticated, Exit.refused],
  [Code.unimplemented, Exit.refused],
  [Code.resourceExhausted, Exit.refused],
  [Code.unavailable, Exit.unavailable],
  [Code.deadlineExceeded, Exit.unavailable],
  [Code.cancelled, Exit.unavailable],
]);

/** Errors of the system that people mend themselves: exit code and what to do. */
const system: Readonly<Record<string, readonly [number, string]>> = {
  EADDRINUSE: [Exit.refused, "Another process listens there; stop it or choose another port."],
  EADDRNOTAVAIL: [Exit.refused, "This machine has no such address; give another --host."],
  EACCES: [Exit.refused, "This user may not do that; check the rights, or choose another port."],
  ENOENT: [Exit.usage, "Check the path."],
  EISDIR: [Exit.usage, "A file was expected; check the path."],
  ECONNREFUSED: [Exit.unavailable, "Nothing listens there: start it, or mend its address."],
  ECONNRESET: [Exit.unavailable, "The connection broke; try again."],
  ENOTFOUND: [Exit.unavailable, "No such host; check the address."],
  ETIMEDOUT: [Exit.unavailable, "No answer in time; check the address and the network."],
};

const unavailableHint =
  "Is a coordinator running there? `drover dev` starts one; --addr or DROVER_ADDR says where.";

/** What DroverError of the coordinator and DroverClientError of the SDK have in common. */
interface Refusal extends Error {
  readonly code: number;
  readonly id: string;
  readonly field?: string | undefined;
  readonly hint?: string | undefined;
  readonly retryAfterMs?: number | undefined;
}

const isRefusal = (error: unknown): error is Refusal =>
  error instanceof Error &&
  "code" in error &&
  typeof error.code === "number" &&
  "id" in error &&
  typeof error.id === "string";

/** The SDKs throw a TypeError that names the option or variable that is wrong. */
const isMisuse = (error: unknown): error is TypeError =>
  error instanceof TypeError && /: expected /.test(error.message);

export function exitCodeOf(error: unknown): number {
  if (isRefusal(error)) {
    // Overload says when to come back; what is refused for good does not.
    if (error.code === Code.resourceExhausted && error.retryAfterMs !== undefined) {
      return Exit.unavailable;
    }
    return byCode.get(error.code) ?? Exit.defect;
  }
  if (isMisuse(error)) return Exit.usage;
  return systemError(error)?.[0] ?? Exit.defect;
}

/**
 * An error in one or two lines for people: what happened, and how to mend it. Never a stack, unless
 * DROVER_DEBUG is set.
 */
export function explain(
  error: unknown,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const hint = hintOf(error);
  const lines = [`drover: ${headline(error)}`, ...(hint ? [`  ${hint}`] : [])];
  if (env["DROVER_DEBUG"]) lines.push(...stacks(error));
  return lines.join("\n");
}

function headline(error: unknown): string {
  const message = messageOf(error);
  if (!isRefusal(error)) return message;
  const { field } = error;
  const place = field && !message.includes(field) ? `${field}: ` : "";
  return `${place}${message} (${error.id})`;
}

function hintOf(error: unknown): string | undefined {
  if (isRefusal(error)) {
    const after = error.retryAfterMs;
    const when = after === undefined ? "" : ` Retry after ${Math.ceil(after / 1000)} s.`;
    const away = error.code === Code.unavailable || error.code === Code.deadlineExceeded;
    if (away && !error.hint) return unavailableHint + when;
    return `${error.hint ?? ""}${when}`.trim() || undefined;
  }
  if (isMisuse(error)) return undefined;
  return systemError(error)?.[1] ?? "This is a defect in Drover; DROVER_DEBUG=1 shows where.";
}

const systemError = (error: unknown): readonly [number, string] | undefined =>
  error instanceof Error && "code" in error ? system[String(error.code)] : undefined;

/** Node leaves the message of an AggregateError (all addresses of a host refused) empty. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== "") return error.message;
  const parts = error instanceof AggregateError ? error.errors.map(messageOf) : [];
  return parts.join("; ") || error.name;
}

const causesMax = 5;

function stacks(error: unknown): string[] {
  const lines: string[] = [];
  let at = error;
  for (let depth = 0; at instanceof Error && depth < causesMax; depth += 1) {
    lines.push(at.stack ?? at.message);
    at = at.cause;
  }
  return lines;
}
