import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ListTasksResponseSchema, TaskStatus } from "../../gen/drover/v1/task_pb.js";
import type { ListTasksRequest } from "../../gen/drover/v1/task_pb.js";
import { countByClient } from "../../examples/effects.js";
import { createExportData } from "../../examples/handlers/export-data.js";
import { parseCsv } from "../../examples/lib/csv.js";
import { openTaskSource } from "../../examples/lib/task-source.js";
import { startFakeCoordinator } from "../support/fake-coordinator.js";
import { contextOf, temporaryFolder } from "./example-context.js";

const idOf = (number: number) => `0190a6f2-0000-7000-8000-00000000000${number}`;

/** Three tasks on two pages, as a coordinator answers over gRPC. */
async function coordinator() {
  const asked: ListTasksRequest[] = [];
  const task = (number: number) => ({
    id: idOf(number),
    type: "send_email",
    queue: "default",
    priority: 2,
    maxRetries: 3,
    status: TaskStatus.COMPLETED,
    attempt: 1,
    workerId: "worker-1",
    createdAt: timestampFromMs(Date.UTC(2026, 0, 1)),
  });
  const { address } = await startFakeCoordinator({
    unary: {
      listTasks: (request: ListTasksRequest) => {
        asked.push(request);
        return request.pageToken === ""
          ? create(ListTasksResponseSchema, { tasks: [task(3), task(2)], nextPageToken: "more" })
          : create(ListTasksResponseSchema, { tasks: [task(1)] });
      },
    },
  });
  return { address, asked };
}

test("tasks are exported through the client SDK, over as many pages as there are", async () => {
  const { address, asked } = await coordinator();
  const folder = temporaryFolder();
  const { handle } = createExportData({ folder, open: () => openTaskSource(address) });
  const result = await handle({ format: "csv", filters: { status: "completed" } }, contextOf());
  expect(result).toMatchObject({ rows: 3, last_id: idOf(3) });
  expect(asked).toMatchObject([
    { status: TaskStatus.COMPLETED, pageToken: "", pageSize: 500 },
    { status: TaskStatus.COMPLETED, pageToken: "more", pageSize: 500 },
  ]);
  const [header, first] = parseCsv(readFileSync(result.path, "utf8"));
  expect(header?.slice(0, 2)).toEqual(["id", "type"]);
  expect(first?.join()).toBe(
    `${idOf(3)},send_email,default,2,completed,1,0,3,2026-01-01T00:00:00.000Z,,,worker-1,`,
  );
});

test("tasks are counted through the client SDK up to an id", async () => {
  const { address } = await coordinator();
  expect(await countByClient(address)(idOf(2))).toBe(2);
  expect(await countByClient(address)(idOf(3))).toBe(3);
});
