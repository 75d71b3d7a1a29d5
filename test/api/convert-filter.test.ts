import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import {
  ListTasksRequestSchema,
  TaskFilterSchema,
  TaskStatus,
} from "../../gen/drover/v1/task_pb.js";
import { listFilter, toFilter } from "../../src/api/convert-filter.js";

const { UNSPECIFIED, FAILED } = TaskStatus;

it("a status of a list that says nothing is refused, and never left out", () => {
  const filter = create(TaskFilterSchema, { type: "mail", status: [UNSPECIFIED] });
  expect(() => toFilter(filter, "filter")).toThrow("filter.status: expected a status, got 0");
  const some = create(ListTasksRequestSchema, { statuses: [FAILED, UNSPECIFIED] });
  expect(() => listFilter(some)).toThrow("status: expected a status, got 0");
});

it("the one status of a list of tasks is none where it says nothing", () => {
  const request = create(ListTasksRequestSchema, { status: UNSPECIFIED, statuses: [FAILED] });
  expect(listFilter(request).statuses).toEqual(["failed"]);
});
