import { Ansis } from "ansis";
import Table from "cli-table3";
import stringWidth from "string-width";
import { age } from "./duration.js";
import type { Terminal } from "./terminal.js";

export type Cell = string | number | boolean | Date | undefined;

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => Cell;
  /** It may be cut short on a narrow terminal. Others are shown whole. */
  readonly shrinks?: boolean;
  /** It is the first to go where there is no room; the last such column goes first. */
  readonly optional?: boolean;
}

export interface TableOptions {
  readonly terminal: Terminal;
  /** Wall time in ms, for ages. */
  readonly now: number;
  /** Said instead of an empty table, to people only. */
  readonly empty: string;
}

const gap = 2;
const shrunkWidth = 8;

/**
 * Rows for people: a table that fits the terminal, times as ages. For programs (stdout is no
 * terminal): a line a row, every column whole, separated by tabs, no titles, times in RFC 3339.
 */
export function printRows<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { terminal, now, empty }: TableOptions,
): void {
  if (!terminal.tty) {
    for (const row of rows) terminal.print(columns.map(({ cell }) => plain(cell(row))).join("\t"));
    return;
  }
  if (rows.length === 0) {
    terminal.print(empty);
    return;
  }
  const texts = rows.map((row) => columns.map(({ cell }) => forPeople(cell(row), now)));
  const widths = fit(columns, texts, terminal.columns);
  const shown = columns.map((_, index) => index).filter((index) => widths[index] !== undefined);
  const ink = inkOf(terminal);
  const table = new Table({
    chars: borderless,
    style: { "padding-left": 0, "padding-right": gap, head: [], border: [] },
    colWidths: shown.map((index) => widths[index]!),
    head: shown.map((index) => ink.bold(columns[index]!.title)),
  });
  for (const text of texts) table.push(shown.map((index) => paint(ink, text[index]!)));
  terminal.print(trimEnds(table.toString()));
}

/** Names and values, one a line. Nothing is cut short; what is undefined is left out. */
export function printFacts(
  facts: readonly (readonly [string, Cell])[],
  { terminal, now }: Pick<TableOptions, "terminal" | "now">,
): void {
  const known = facts.filter(([, value]) => value !== undefined && value !== "");
  if (!terminal.tty) {
    for (const [name, value] of known) terminal.print(`${name}\t${plain(value)}`);
    return;
  }
  const ink = inkOf(terminal);
  const width = Math.max(0, ...known.map(([name]) => stringWidth(name)));
  for (const [name, value] of known) {
    const text = value instanceof Date ? `${plain(value)} (${age(now, value)})` : plain(value);
    terminal.print(`${ink.bold(name.padEnd(width))}${" ".repeat(gap)}${paint(ink, text)}`);
  }
}

/** Widths of the columns that are shown, undefined for those left out. */
function fit<Row>(
  columns: readonly Column<Row>[],
  texts: readonly string[][],
  room: number,
): (number | undefined)[] {
  const natural = columns.map(({ title }, index) =>
    Math.max(stringWidth(title), ...texts.map((text) => stringWidth(text[index]!))),
  );
  const least = columns.map(({ title, shrinks }, index) =>
    shrinks ? Math.min(natural[index]!, Math.max(shrunkWidth, title.length)) : natural[index]!,
  );
  const widths: (number | undefined)[] = [...natural];
  const needed = (of: readonly number[]) =>
    of.reduce((sum, width, index) => (widths[index] === undefined ? sum : sum + width + gap), -gap);
  for (let index = columns.length - 1; index >= 0 && needed(least) > room; index -= 1) {
    if (columns[index]!.optional) widths[index] = undefined;
  }
  let excess = needed(natural) - room;
  while (excess > 0) {
    const widest = widestToShrink(widths, least);
    if (widest === undefined) break;
    widths[widest]! -= 1;
    excess -= 1;
  }
  return widths.map((width) => (width === undefined ? undefined : width + gap));
}

function widestToShrink(
  widths: readonly (number | undefined)[],
  least: readonly number[],
): number | undefined {
  let widest: number | undefined;
  for (const [index, width] of widths.entries()) {
    if (width === undefined || width <= least[index]!) continue;
    if (widest === undefined || width > widths[widest]!) widest = index;
  }
  return widest;
}

/** What comes from others may hold control characters: they must neither draw nor break a line. */
// oxlint-disable-next-line no-control-regex
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g;

function plain(cell: Cell): string {
  if (cell instanceof Date) return cell.toISOString();
  return cell === undefined ? "" : String(cell).replace(controls, " ");
}

const forPeople = (cell: Cell, now: number): string =>
  cell instanceof Date ? age(now, cell) : plain(cell);

export const inkOf = ({ colour }: Pick<Terminal, "colour">): Ansis =>
  colour === undefined ? new Ansis() : new Ansis(colour);

const colours: Readonly<Record<string, "green" | "red" | "yellow" | "cyan" | "gray">> = {
  completed: "green",
  failed: "red",
  timeout: "red",
  lost: "red",
  running: "cyan",
  retrying: "yellow",
  paused: "yellow",
  cancelled: "gray",
  expired: "gray",
};

function paint(ink: Ansis, text: string): string {
  const colour = colours[text];
  return colour ? ink[colour](text) : text;
}

const borderless = Object.fromEntries(
  ["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left"]
    .concat(["bottom-right", "left", "left-mid", "mid", "mid-mid", "right", "right-mid", "middle"])
    .map((name) => [name, ""]),
);

const trimEnds = (text: string): string =>
  text
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
