import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fencingEpochUnit } from "../../task/ids.js";
import { limits } from "../../limits.js";
import { inlineBytes } from "./record.js";

/** Tombstones planted in one such stretch of time stand together. */
const tombBucketMs = 300_000;

/** Bounds that a test may lower, so that it reaches them with a handful of tasks. */
export type BrokerBounds = Record<
  "outboxEntries" | "outboxBytes" | "lanesPerQueue" | "bundleTasks",
  number
>;

export interface SourceOptions {
  readonly bounds: BrokerBounds;
  /** Sweeps of a partition closer than this do nothing: coordinators share the work. */
  readonly sweepGuardMs: number;
  /**
   * Tests only: scripts add the partition's `skew` key to the store's time, or to the one that its
   * key `frozen` holds.
   */
  readonly testSkew: boolean;
}

export interface Script {
  readonly source: string;
  readonly sha: string;
}

/** All scripts as functions of one library, which Redis reads once and keeps. */
export interface Library {
  readonly source: string;
  functionOf(script: string): string;
}

const folder = new URL("./lua/", import.meta.url);
/** In this order each part finds what it needs before it. */
const partNames = [
  "base",
  "record",
  "tomb",
  "book",
  "shelf",
  "grant",
  "plain",
  "bundle",
  "directory",
  "take",
  "slice",
  "asked",
  "settle",
  "session",
  "lanes",
  "alone",
];

const fileOf = (name: string): string => readFileSync(new URL(`${name}.lua`, folder), "utf8");
const include = /^-- @include (\w+)$/;
const before = /^-- @before (\w+)$/;

/** A script with its parts and constants put in; each part once. */
export function readScript(name: string, options: SourceOptions): Script {
  const [shebang, ...lines] = fileOf(name).split("\n");
  const wanted = new Set(lines.map((line) => include.exec(line)?.[1]));
  const parts = partNames.filter((part) => wanted.has(part)).map((part) => fileOf(`parts/${part}`));
  // A function of its own, as in the library: Lua allows one only 200 locals.
  const text = [...parts, "return (function()", ...bodyOf(lines), "end)()"].join("\n");
  const source = `${shebang}\n${finish(text, options)}`;
  return { source, sha: shaOf(source) };
}

/**
 * Reading a script's functions anew at each call takes Redis longer than a call for one task; here
 * that is done once. The name tells versions and settings apart, so that coordinators of several
 * share a Redis.
 */
export function readLibrary(names: readonly string[], options: SourceOptions): Library {
  const parts = partNames.map((part) => fileOf(`parts/${part}`));
  const text = ["local KEYS, ARGV", ...parts, ...names.map(registration)].join("\n");
  const source = finish(text, options);
  const library = `drover_${shaOf(source).slice(0, 16)}`;
  // Put together once: the text is written out with every call.
  const functions = new Map(names.map((name) => [name, `${library}_${name}`]));
  return {
    source: `#!lua name=${library}\n${source.replaceAll("@library", library)}`,
    functionOf: (script) => functions.get(script)!,
  };
}

function registration(name: string): string {
  const [shebang, ...lines] = fileOf(name).split("\n");
  const flags = /flags=(.+)$/.exec(shebang!)?.[1]?.split(",") ?? [];
  return [
    `redis.register_function{ function_name = '@library_${name}',`,
    `flags = { ${flags.map((flag) => `'${flag}'`).join(", ")} }, callback = function(keys, args)`,
    "KEYS, ARGV = keys, args",
    ...bodyOf(lines),
    "end }",
  ].join("\n");
}

/** A function that stands before the body answers for it, unless it answers nothing. */
function bodyOf(lines: readonly string[]): string[] {
  const first = lines.map((line) => before.exec(line)?.[1]).find((name) => name !== undefined);
  const short = `begin_call() do local reply = ${first}() if reply then return reply end end`;
  const body = lines.filter((line) => !include.test(line) && !before.test(line));
  return [...(first === undefined ? [] : [short]), "start_call()", ...body];
}

const shaOf = (text: string): string => createHash("sha1").update(text).digest("hex");

const addSkew =
  "now = tonumber(call('GET', K .. 'frozen') or now) + tonumber(call('GET', K .. 'skew') or 0)";

const finish = (text: string, options: SourceOptions): string =>
  withConstants(options.testSkew ? text.replace("-- @skew", addSkew) : text, options);

/**
 * Numbers and texts take the place of their names: those of limits.ts, and those that lines such as
 * `local RUN, LOSSES = 18, 19` and `local PLACE = '>I6I4'` declare. Locals would cost a script its
 * start, and Lua allows only 200.
 */
function withConstants(source: string, options: SourceOptions): string {
  const constants = new Map(Object.entries(numbersOf(options)).map(([k, v]) => [k, String(v)]));
  const rest = source.replaceAll(declaration, (_line, names: string, values: string) => {
    const list = values.startsWith("'") ? [values] : values.split(", ");
    names.split(", ").forEach((name, at) => {
      // They hold for the whole library, as Lua's locals would not.
      if (constants.has(name)) throw new Error(`two constants of the scripts are called ${name}`);
      constants.set(name, list[at]!);
    });
    return "";
  });
  return rest.replaceAll(constantName, (name) => constants.get(name) ?? name);
}

const declaration =
  /^local ([A-Z][A-Z_]+(?:, [A-Z][A-Z_]+)*) = (\d+(?:, \d+)*|'(?:[^'\\\n]|\\\d+)*')$/gm;
/** Not in quotes: there it is a command of Redis. */
const constantName = /(?<!['\w])[A-Z][A-Z_]+(?!['\w])/g;

function numbersOf({ bounds, sweepGuardMs }: SourceOptions): Record<string, number> {
  return {
    OUTBOX_ENTRIES: bounds.outboxEntries,
    OUTBOX_BYTES: bounds.outboxBytes,
    LANES_PER_QUEUE: bounds.lanesPerQueue,
    BUNDLE_TASKS: bounds.bundleTasks,
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
    // Times since then fit into 40 bits for some 34 years more.
    BIRTH_EPOCH_MS: 2 ** 40,
    TOMBSTONE_MS: limits.tombstoneMs,
    TOMB_BUCKET_MS: tombBucketMs,
    OLDER_TOMBS: Math.ceil(limits.tombstoneMs / tombBucketMs),
    IDEMPOTENCY_KEY_MS: limits.idempotencyKeyMs,
    RESTORE_STALE_MS: limits.restoreStaleMs,
    COORDINATOR_MS: 10_000,
    WATCH_MS: limits.watchMs,
    INLINE_BYTES: inlineBytes,
  };
}
