import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { expect, it } from "vitest";
import { LogEntrySchema, type TaskLogs, TaskLogsSchema } from "../../gen/drover/v1/task_pb.js";
import type { Opaque } from "../../src/api/contract.js";
import { toWireLogEntry, toWorkerLog } from "../../src/api/convert-log.js";
import { writeTimestamp } from "../../src/api/rest/times.js";

/** How it is shown later: one entry that cannot be would take all others of its task along. */
function shownOf(seconds: bigint, nanos = 0): string {
  const entry = create(LogEntrySchema, {
    sequence: 1,
    time: create(TimestampSchema, { seconds, nanos }),
  });
  const frame = create(TaskLogsSchema, { entries: [entry] }) as unknown as Opaque<TaskLogs>;
  const { entries } = toWorkerLog(frame);
  const place = { taskId: "t", fencingToken: 1, attempt: 1 };
  const { time } = toWireLogEntry({ ...place, ...entries[0]! });
  return writeTimestamp(time as Timestamp);
}

it.each([
  [1_700_000_000n, 123_456_789, "2023-11-14T22:13:20.123Z"],
  // Milliseconds where seconds belong.
  [1_700_000_000_123n, 0, "9999-12-31T23:59:59.999Z"],
  [2n ** 63n - 1n, 2 ** 31 - 1, "9999-12-31T23:59:59.999Z"],
  [-(2n ** 63n), 0, "1970-01-01T00:00:00.000Z"],
])("an entry of the time %d s and %d ns can be shown", (seconds, nanos, shown) => {
  expect(shownOf(seconds, nanos)).toBe(shown);
});
