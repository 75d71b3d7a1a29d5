import { taskStatuses } from "drover/client";
import { z } from "zod";
import { csvRecord } from "../lib/csv.js";
import { outputFolder, writeOutput } from "../lib/output.js";
import { readPayload } from "../lib/payload.js";
import { permanent, type SampleHandler, type TaskContext } from "../lib/sdk.js";
import { taskColumns, type TaskRow, type TaskSource } from "../lib/task-rows.js";
import { openTaskSource } from "../lib/task-source.js";

const name = z.string().min(1).max(128);

const exportSchema = z.object({
  format: z.enum(["csv", "jsonl"]),
  /** Strict: a filter left out of account would export more than was asked for. */
  filters: z
    .strictObject({
      status: z.enum(taskStatuses).exactOptional(),
      type: name.exactOptional(),
      queue: name.exactOptional(),
      tag: z.string().min(1).max(256).exactOptional(),
    })
    .default({}),
});
type Format = z.output<typeof exportSchema>["format"];

export interface ExportDataSettings {
  /** Default: through the client SDK, from the coordinators that DROVER_ADDR names. */
  open?: () => TaskSource;
  /** Where exports go. Default: `exports` below the output folder. */
  folder?: string;
  /** A longer export fails rather than fill the disk. Default 1,000,000. */
  maxRows?: number;
}

export interface ExportDataResult {
  path: string;
  rows: number;
  bytes: number;
  sha256: string;
  format: Format;
  /**
   * Highest id exported. Ids grow with time: tasks submitted since are above it, and not in the
   * file.
   */
  last_id: string;
}

/**
 * Writes Drover's own tasks into one file per export, page by page: memory stays the same however
 * many there are.
 */
export function createExportData(
  settings: ExportDataSettings = {},
): SampleHandler<ExportDataResult> {
  return {
    type: "export_data",
    async handle(payload, context) {
      const wanted = readPayload(exportSchema, payload);
      const folder = settings.folder ?? `${outputFolder()}/exports`;
      const source = (settings.open ?? openTaskSource)();
      const tally = { rows: 0, lastId: "", maxRows: settings.maxRows ?? 1_000_000 };
      try {
        const chunks = chunksOf(source, wanted, tally, context);
        const file = await writeOutput(folder, wanted.format, chunks, context);
        return { ...file, rows: tally.rows, format: wanted.format, last_id: tally.lastId };
      } finally {
        await source.close();
      }
    },
  };
}

async function* chunksOf(
  source: TaskSource,
  { format, filters }: z.output<typeof exportSchema>,
  tally: { rows: number; lastId: string; maxRows: number },
  context: TaskContext,
): AsyncGenerator<string> {
  if (format === "csv") yield csvRecord(taskColumns);
  let pageToken = "";
  do {
    context.signal.throwIfAborted();
    const page = await source.page(filters, pageToken, context.signal);
    tally.rows += page.rows.length;
    if (tally.rows > tally.maxRows) {
      throw permanent("export_too_large", `over ${tally.maxRows} rows: narrow payload.filters`);
    }
    for (const row of page.rows) if (row.id > tally.lastId) tally.lastId = row.id;
    yield page.rows.map(format === "csv" ? csvRow : jsonRow).join("");
    context.progress(0, `${tally.rows} rows`);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

const csvRow = (row: TaskRow): string => csvRecord(taskColumns.map((column) => row[column]));
const jsonRow = (row: TaskRow): string => `${JSON.stringify(row, [...taskColumns])}\n`;

export default createExportData();
