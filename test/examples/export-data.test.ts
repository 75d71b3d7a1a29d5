import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { TaskFilter } from "drover/client";
import { expect, test } from "vitest";
import { createExportData } from "../../examples/handlers/export-data.js";
import { csvRecord, parseCsv } from "../../examples/lib/csv.js";
import { taskColumns, type TaskRow } from "../../examples/lib/task-rows.js";
import { contextOf, failureOf, taskId, temporaryFolder } from "./example-context.js";

const rowOf = (number: number, changes: Partial<TaskRow> = {}): TaskRow => ({
  id: `0190a6f2-0000-7000-8000-${String(number).padStart(12, "0")}`,
  type: "send_email",
  queue: "default",
  priority: 1,
  status: "completed",
  attempt: 1,
  retry_count: 0,
  max_retries: 3,
  created_at: "2026-01-01T00:00:00.000Z",
  started_at: "2026-01-01T00:00:01.000Z",
  completed_at: undefined,
  worker_id: "worker-1",
  error_code: undefined,
  ...changes,
});

/** Tasks in pages, newest first, as Drover lists them; notes what it was asked. */
function sourceOf(pages: TaskRow[][], onPage: () => void = () => undefined) {
  const asked: TaskFilter[] = [];
  const state = { closed: 0 };
  const open = () => ({
    async page(filters: TaskFilter, pageToken: string) {
      asked.push(filters);
      onPage();
      const at = Number(pageToken || 0);
      const nextPageToken = at + 1 < pages.length ? String(at + 1) : "";
      return { rows: pages[at] ?? [], nextPageToken };
    },
    async close() {
      state.closed += 1;
    },
  });
  return { open, asked, state };
}

const threeTasks = [[rowOf(3), rowOf(2)], [rowOf(1)]];
const csv = { format: "csv", filters: {} };

test("the sample task exports every page into one CSV file", async () => {
  const { open, state } = sourceOf(threeTasks);
  const result = await createExportData({ open, folder: temporaryFolder() }).handle(
    csv,
    contextOf(),
  );
  const text = readFileSync(result.path, "utf8");
  expect(parseCsv(text)).toEqual([
    [...taskColumns],
    ...threeTasks.flat().map((row) => taskColumns.map((column) => String(row[column] ?? ""))),
  ]);
  expect(result).toMatchObject({ rows: 3, format: "csv", last_id: rowOf(3).id });
  expect(result.sha256).toBe(createHash("sha256").update(text).digest("hex"));
  expect(state.closed).toBe(1);
});

test("JSON lines hold one task each", async () => {
  const { open } = sourceOf(threeTasks);
  const result = await createExportData({ open, folder: temporaryFolder() }).handle(
    { format: "jsonl", filters: {} },
    contextOf(),
  );
  const lines = readFileSync(result.path, "utf8").trimEnd().split("\n");
  const read = lines.map((line) => JSON.parse(line) as TaskRow);
  expect(read.map(({ id }) => id)).toEqual([3, 2, 1].map((number) => rowOf(number).id));
  expect(result.path).toMatch(/\.jsonl$/);
});

test("filters are handed on, and an empty export is a header", async () => {
  const { open, asked } = sourceOf([[]]);
  const filters = { status: "failed", type: "send_email", queue: "mail", tag: "eu" };
  const result = await createExportData({ open, folder: temporaryFolder() }).handle(
    { format: "csv", filters },
    contextOf(),
  );
  expect(asked).toEqual([filters]);
  expect(result).toMatchObject({ rows: 0, last_id: "" });
  expect(parseCsv(readFileSync(result.path, "utf8"))).toEqual([[...taskColumns]]);
});

test("the same task run again replaces its own file", async () => {
  const folder = temporaryFolder();
  await createExportData({ open: sourceOf(threeTasks).open, folder }).handle(csv, contextOf());
  const { open } = sourceOf([[rowOf(9)]]);
  const { handle } = createExportData({ open, folder });
  expect(await handle(csv, contextOf({ fencingToken: 2 }))).toMatchObject({ rows: 1 });
  expect(readdirSync(folder)).toEqual([`${taskId}.csv`]);
});

test.each([
  ["format", { filters: {} }],
  ["format", { format: "xlsx", filters: {} }],
  ["filters", { format: "csv", filters: [] }],
  ["filters.status", { format: "csv", filters: { status: "done" } }],
  ["filters.type", { format: "csv", filters: { type: 7 } }],
  ["filters", { format: "csv", filters: { state: "failed" } }],
])("a bad %s is refused for good, by name", async (field, payload) => {
  const { open, asked } = sourceOf(threeTasks);
  const work = createExportData({ open, folder: temporaryFolder() }).handle(payload, contextOf());
  const { message } = await failureOf(work, "invalid_payload", false);
  expect(message).toContain(`payload.${field}: `);
  expect(asked).toEqual([]);
});

test("an export over its limit fails and leaves no file", async () => {
  const folder = temporaryFolder();
  const { open, state } = sourceOf(threeTasks);
  const work = createExportData({ open, folder, maxRows: 2 }).handle(csv, contextOf());
  await failureOf(work, "export_too_large", false);
  expect(readdirSync(folder)).toEqual([]);
  expect(state.closed).toBe(1);
});

test("the task's signal ends it between pages, and no file is left", async () => {
  const folder = temporaryFolder();
  const stop = new AbortController();
  const { open, asked, state } = sourceOf(threeTasks, () => stop.abort(new Error("lease lost")));
  const work = createExportData({ open, folder }).handle(csv, contextOf({ signal: stop.signal }));
  await expect(work).rejects.toThrow("lease lost");
  expect(asked).toHaveLength(1);
  expect(readdirSync(folder)).toEqual([]);
  expect(state.closed).toBe(1);
});

test("cells of any text are read back as they were", () => {
  const cells = ["plain", 'say "hi"', "a,b", "line\nbreak", "line\r\nbreak", " spaced ", "", "Ü🐑"];
  expect(parseCsv(csvRecord(cells) + csvRecord(cells))).toEqual([cells, cells]);
});

test.each(["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])(
  "text that a spreadsheet would run is kept text: %j",
  (text) => {
    expect(parseCsv(csvRecord([text, 1]))).toEqual([[`'${text}`, "1"]]);
  },
);

test("numbers stay numbers and what has no value stays empty", () => {
  expect(csvRecord([-1, 0, undefined])).toBe("-1,0,\r\n");
});

test.each(['a"b\r\n', '"open'])("what is no CSV is said to be none: %j", (text) => {
  expect(() => parseCsv(text)).toThrow("not CSV");
});
