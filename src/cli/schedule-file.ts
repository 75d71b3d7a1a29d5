import { isMap, isSeq, LineCounter, type Document, parseDocument } from "yaml";
import { z } from "zod";
import type { NewSchedule, ScheduleTask } from "../client/index.js";
import { DroverError } from "../errors.js";
import { parseDuration } from "./duration.js";

/** Schedules of a file, and where in it they stand. */
export interface ScheduleFile {
  readonly schedules: readonly NewSchedule[];
  /** `file:line:column: ` of a field of one of them, e.g. `schedule.task.type`. */
  place(index: number, field: string | undefined): string;
}

const duration = z.string().transform((text, context) => {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  context.addIssue({ code: "custom", message: `expected a duration such as 90s, got "${text}"` });
  return z.NEVER;
});

const zoned = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/i;
const time = z.string().transform((text, context) => {
  const date = new Date(text);
  if (zoned.test(text) && !Number.isNaN(date.getTime())) return date;
  const message = `expected a time with its zone such as 2030-01-31T08:00:00Z, got "${text}"`;
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

const retryPolicy = z
  .strictObject({
    initial_backoff: duration,
    max_backoff: duration,
    multiplier: z.number(),
    jitter: z.number(),
    non_retryable_codes: z.array(z.string()),
  })
  .partial();

const template = z.strictObject({
  type: z.string(),
  payload: z.json().optional(),
  queue: z.string().optional(),
  priority: z.literal([0, 1, 2, 3]).optional(),
  max_retries: z.number().int().optional(),
  retry_policy: retryPolicy.optional(),
  delay: duration.optional(),
  timeout: duration.optional(),
  heartbeat_timeout: duration.optional(),
  group_key: z.string().optional(),
  required_labels: z.record(z.string(), z.string()).optional(),
  tags: z.array(z.string()).optional(),
  retention: duration.optional(),
});

const schedule = z.strictObject({
  name: z.string(),
  cron: z.string().optional(),
  time_zone: z.string().optional(),
  every: duration.optional(),
  anchor: time.optional(),
  at: time.optional(),
  task: template,
  overlap_policy: z
    .enum(["skip", "buffer_one", "buffer_all", "allow_all", "cancel_other"])
    .optional(),
  catch_up_window: duration.optional(),
  jitter: duration.optional(),
  paused: z.boolean().optional(),
  note: z.string().optional(),
});

const fileShape = z.strictObject({ schedules: z.array(schedule) });

/** Reads `schedules:` of a YAML text. Throws one DroverError that tells of every mistake. */
export function readScheduleFile(name: string, text: string): ScheduleFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}: `;
  };
  const broken = document.errors.map((error) => at(error.pos[0]) + error.message);
  if (broken.length > 0) throw refused(broken);
  const place = (path: readonly PropertyKey[]): string => at(offsetOf(document, path));
  const parsed = fileShape.safeParse(document.toJS() ?? {});
  if (!parsed.success) {
    throw refused(
      parsed.error.issues.map(({ path, message }) => `${place(path)}${named(path)}: ${message}`),
    );
  }
  const { schedules } = parsed.data;
  const doubles = schedules.flatMap((each, index) =>
    schedules.findIndex((other) => other.name === each.name) < index
      ? [`${place(["schedules", index, "name"])}"${each.name}" is there twice`]
      : [],
  );
  if (doubles.length > 0) throw refused(doubles);
  return {
    schedules: schedules.map(toNew),
    place: (index, field) => {
      const words = field?.replace(/^schedule\.?/, "").match(/[^.[\]]+/g) ?? [];
      return place(["schedules", index, ...words]);
    },
  };
}

const named = (path: readonly PropertyKey[]): string =>
  path
    .map((word) => (typeof word === "number" ? `[${word}]` : `.${String(word)}`))
    .join("")
    .slice(1) || "file";

/** Of the deepest part of the path that is there. */
function offsetOf(document: Document, path: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const word of path) {
    if (isSeq(node)) node = node.items[Number(word)];
    else if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(key) === String(word));
      offset = startOf(pair?.key) ?? offset;
      node = pair?.value;
    }
    if (node === undefined || node === null) break;
    if (isMap(node) || isSeq(node)) offset = startOf(node) ?? offset;
  }
  return offset;
}

const startOf = (node: unknown): number | undefined =>
  (node as { readonly range?: readonly number[] | null } | undefined)?.range?.[0];

function refused(mistakes: readonly string[]): DroverError {
  const hint = "Nothing was changed. docs/schedules.md shows what a file may say.";
  return new DroverError("invalid_field", mistakes.join("\n"), { hint });
}

/** Without what was not given. */
function given<T extends object>(fields: T): { [K in keyof T]: NonNullable<T[K]> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: NonNullable<T[K]> };
}

function toNew(each: z.output<typeof schedule>): NewSchedule {
  const { name, cron, anchor, at, paused, note } = each;
  return given({
    name,
    cron,
    anchor,
    at,
    paused,
    note,
    timeZone: each.time_zone,
    everyMs: each.every,
    task: toTask(each.task),
    overlapPolicy: each.overlap_policy,
    catchUpWindowMs: each.catch_up_window,
    jitterMs: each.jitter,
  });
}

function toTask(task: z.output<typeof template>): ScheduleTask {
  const { type, payload, queue, priority, tags, retry_policy: retry } = task;
  return given({
    type,
    payload,
    queue,
    priority,
    tags,
    maxRetries: task.max_retries,
    retryPolicy:
      retry &&
      given({
        initialBackoffMs: retry.initial_backoff,
        maxBackoffMs: retry.max_backoff,
        multiplier: retry.multiplier,
        jitter: retry.jitter,
        nonRetryableCodes: retry.non_retryable_codes,
      }),
    delayMs: task.delay,
    attemptTimeoutMs: task.timeout,
    heartbeatTimeoutMs: task.heartbeat_timeout,
    groupKey: task.group_key,
    requiredLabels: task.required_labels,
    retentionMs: task.retention,
  });
}
