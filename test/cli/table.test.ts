import stringWidth from "string-width";
import { describe, expect, it } from "vitest";
import { toRestJson } from "../../src/cli/json.js";
import { type Column, printFacts, printRows } from "../../src/cli/table.js";
import { fakeTerminal } from "../support/fake-terminal.js";

interface Row {
  id: string;
  type: string;
  at: Date | undefined;
  note: string;
}

const now = Date.UTC(2030, 0, 1);
const columns: readonly Column<Row>[] = [
  { title: "ID", cell: ({ id }) => id },
  { title: "TYPE", cell: ({ type }) => type, shrinks: true },
  { title: "CREATED", cell: ({ at }) => at, optional: true },
  { title: "NOTE", cell: ({ note }) => note, shrinks: true, optional: true },
];
const row: Row = {
  id: "01a20160-5b0f-77c6-8f50-4a298299fca5",
  type: "send_a_rather_long_kind_of_email",
  at: new Date(now - 90_000),
  note: "timeout: it took too long",
};

const shown = (width: number, rows: Row[] = [row]): string[] => {
  const terminal = fakeTerminal({ tty: true, columns: width });
  printRows(rows, columns, { terminal, now, empty: "Nothing here." });
  return terminal.lines;
};

describe("tables", () => {
  it("are whole where there is room", () => {
    const [head, line] = shown(160);
    expect(head).toMatch(/^ID +TYPE +CREATED +NOTE$/);
    expect(line).toBe(`${row.id}  ${row.type}  1m ago   ${row.note}`);
  });

  it.each([120, 100, 80, 66, 50])("fit %i columns, and keep the id whole", (width) => {
    const lines = shown(width, [row, { ...row, type: "短い日本語のタスクの種類です" }]);
    expect(lines).toHaveLength(3);
    expect(Math.max(...lines.map((line) => stringWidth(line)))).toBeLessThanOrEqual(width);
    for (const line of lines.slice(1)) expect(line.startsWith(row.id)).toBe(true);
  });

  it("leave out what is optional before they cut the rest to nothing", () => {
    expect(shown(50)[0]).toMatch(/^ID +TYPE$/);
  });

  it("say so when they are empty", () => {
    expect(shown(80, [])).toEqual(["Nothing here."]);
  });

  it("are lines with tabs for programs: whole, without titles", () => {
    const terminal = fakeTerminal({ columns: 20 });
    const rows = [row, { ...row, at: undefined }];
    printRows(rows, columns, { terminal, now, empty: "Nothing here." });
    expect(terminal.lines).toEqual([
      `${row.id}\t${row.type}\t2029-12-31T23:58:30.000Z\t${row.note}`,
      `${row.id}\t${row.type}\t\t${row.note}`,
    ]);
  });

  it("never pass on control characters of others", () => {
    const evil = { ...row, note: "a\tb\n\u001b[31mc" };
    const terminal = fakeTerminal();
    printRows([evil], columns, { terminal, now, empty: "" });
    expect(terminal.lines).toHaveLength(1);
    expect(terminal.lines[0]).toMatch(/\ta b \[31mc$/);
    expect(shown(160, [evil]).join("")).not.toContain("\u001b");
  });
});

it("facts leave out what is unknown", () => {
  const terminal = fakeTerminal({ tty: true });
  const facts = [
    ["id", "x"],
    ["worker", undefined],
    ["created", new Date(now - 5_000)],
    ["attempt", 0],
  ] as const;
  printFacts(facts, { terminal, now });
  expect(terminal.lines).toEqual([
    "id       x",
    "created  2029-12-31T23:59:55.000Z (5s ago)",
    "attempt  0",
  ]);
});

it("JSON is written as REST writes it, and what users gave is left alone", () => {
  expect(
    toRestJson({
      createdAt: new Date(now),
      attemptTimeoutMs: 1_500,
      retentionMs: undefined,
      workerId: undefined,
      error: undefined,
      payload: { camelCase: { innerMs: 5 } },
      result: { contentType: "image/png", data: Buffer.from("hi") },
      requiredLabels: { someLabel: "x" },
    }),
  ).toEqual({
    created_at: "2030-01-01T00:00:00.000Z",
    timeout: "1.5s",
    retention: null,
    worker_id: "",
    error: null,
    payload: { camelCase: { innerMs: 5 } },
    result_blob: { content_type: "image/png", data: "aGk=" },
    required_labels: { someLabel: "x" },
  });
});
