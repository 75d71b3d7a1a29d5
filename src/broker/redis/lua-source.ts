import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fencingEpochUnit } from "../../task/ids.js";
import { limits } from "../../limits.js";
import { inlineBytes } from "./record.js";

/** Bounds that a test may lower, so that it reaches them with a handful of tasks. */
export type BrokerBounds = Record<"outboxEntries" | "outboxBytes" | "lanesPerQueue", number>;

export interface SourceOptions {
  readonly bounds: BrokerBounds;
  /** Sweeps of a partition closer than this do nothing: coordinators share the work. */
  readonly sweepGuardMs: number;
  /** Tests only: scripts add the partition's `skew` key to the store's time. */
  readonly testSkew: boolean;
}

export interface Script {
  readonly source: string;
  readonly sha: string;
}

const folder = new URL("./lua/", import.meta.url);

/** A script with its parts and constants put in; each part once. */
export function readScript(name: string, options: SourceOptions): Script {
  const [shebang, ...lines] = readFileSync(new URL(`${name}.lua`, folder), "utf8").split("\n");
  const body = lines.map((line) => include(line)).join("\n");
  const skewed = options.testSkew ? body.replace("-- @skew", addSkew) : body;
  const source = `${shebang}\n${withConstants(skewed, options)}`;
  return { source, sha: createHash("sha1").update(source).digest("hex") };
}

const addSkew = "now = now + tonumber(call('GET', K .. 'skew') or 0)";

function include(line: string): string {
  const part = /^-- @include (\w+)$/.exec(line)?.[1];
  return part === undefined ? line : readFileSync(new URL(`parts/${part}.lua`, folder), "utf8");
}

/**
 * Numbers take the place of their names: those of limits.ts, and those that lines such as
 * `local RUN, LOSSES = 18, 19` declare. Locals would cost a script its start, and Lua allows only
 * 200.
 */
function withConstants(source: string, options: SourceOptions): string {
  const constants = new Map(Object.entries(numbersOf(options)).map(([k, v]) => [k, String(v)]));
  const rest = source.replaceAll(declaration, (_line, names: string, values: string) => {
    const list = values.split(", ");
    names.split(", ").forEach((name, at) => constants.set(name, list[at]!));
    return "";
  });
  return rest.replaceAll(constantName, (name) => constants.get(name) ?? name);
}

const declaration = /^local ([A-Z][A-Z_]+(?:, [A-Z][A-Z_]+)*) = (\d+(?:, \d+)*)$/gm;
/** Not in quotes: there it is a command of Redis. */
const constantName = /(?<!['\w])[A-Z][A-Z_]+(?!['\w])/g;

function numbersOf({ bounds, sweepGuardMs }: SourceOptions): Record<string, number> {
  return {
    OUTBOX_ENTRIES: bounds.outboxEntries,
    OUTBOX_BYTES: bounds.outboxBytes,
    LANES_PER_QUEUE: bounds.lanesPerQueue,
    SWEEP_GUARD_MS: sweepGuardMs,
    SWEEP_GAP_MS: limits.sweepGapMs,
    SWEEP_BATCH: limits.sweepBatch,
    REAP_GRACE_MS: limits.reapGraceMs,
    TIMEOUT_GRACE_MS: limits.timeoutGraceMs,
    LEASE_BATCH: limits.leaseBatch,
    LEASE_LOSSES_MAX: limits.leaseLossesMax,
    LEASE_PROMOTES: 100,
    LEASE_GHOSTS: limits.leaseGhosts,
    SESSION_LEASE_MS: limits.sessionLeaseMs,
    CANCEL_GRACE_MS: limits.cancelGraceMs,
    WAKE_LANES: limits.wakeLanes,
    STARVATION_EVERY: limits.starvationEvery,
    GROUP_STRIDE: limits.groupStride,
    GROUP_FINISH_MS: 3_600_000,
    FENCING_UNIT: fencingEpochUnit,
    TOMBSTONE_MS: limits.tombstoneMs,
    TOMB_BUCKET_MS: 300_000,
    IDEMPOTENCY_KEY_MS: limits.idempotencyKeyMs,
    RESTORE_STALE_MS: limits.restoreStaleMs,
    COORDINATOR_MS: 10_000,
    WATCH_MS: limits.watchMs,
    INLINE_BYTES: inlineBytes,
  };
}
