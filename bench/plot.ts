/** Bars of the throughput figures, one group for each: pure. */
import { formatValue } from "./report.js";
import { figures, type Row } from "./summary.js";

const barHeight = 18;
const groupGap = 26;
const left = 210;
const width = 860;
const right = 90;
const top = 48;
const colours = ["#2563a8", "#7fb0dd", "#c2702c", "#5b8c5a", "#8a6bb1", "#9a9a9a"];

const seriesOf = ({ system, durability }: Row): string => `${system} (${durability})`;

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

const element = (name: string, attributes: Readonly<Record<string, string | number>>): string => {
  const given = Object.entries(attributes).map(([key, value]) => ` ${key}="${value}"`);
  return `<${name}${given.join("")}`;
};

const text = (x: number, y: number, content: string, more = {}): string =>
  `${element("text", { x, y, ...more })}>${escape(content)}</text>`;
const shape = (name: string, attributes: Readonly<Record<string, string | number>>): string =>
  `${element(name, attributes)}/>`;

function bar(row: Row, y: number, most: number, fill: string): string[] {
  const scale = (value: number): number => Math.round((value / most) * (width - left - right));
  const length = scale(row.value);
  const height = barHeight - 4;
  const middle = y + height / 2;
  const [x1, x2] = [left + scale(row.spread[0]), left + scale(row.spread[1])];
  return [
    text(left - 8, y + 11, seriesOf(row), { "text-anchor": "end" }),
    shape("rect", { x: left, y, width: length, height, fill }),
    shape("line", { x1, x2, y1: middle, y2: middle, stroke: "#222" }),
    text(Math.max(left + length, x2) + 6, y + 11, formatValue(row.value, row.unit)),
  ];
}

/** An SVG of all rows in tasks/s; thin lines are the spread over the rounds. */
export function plotSvg(rows: readonly Row[]): string {
  const shown = rows.filter(({ unit }) => unit === "tasks/s");
  const series = [...new Set(shown.map(seriesOf))];
  const most = Math.max(1, ...shown.map(({ spread }) => spread[1]));
  const parts: string[] = [];
  let y = top;
  for (const figure of figures) {
    const group = shown.filter((row) => row.figure === figure);
    if (group.length === 0) continue;
    parts.push(text(12, y + 11, figure, { "font-weight": "bold" }));
    for (const row of group) {
      const colour = colours[series.indexOf(seriesOf(row)) % colours.length]!;
      parts.push(...bar(row, y, most, colour));
      y += barHeight;
    }
    y += groupGap;
  }
  const drawing = {
    xmlns: "http://www.w3.org/2000/svg",
    width,
    height: y,
    viewBox: `0 0 ${width} ${y}`,
    "font-family": "sans-serif",
    "font-size": 12,
  };
  const title = "Tasks a second: median of the rounds, line: lowest to highest";
  return [
    `${element("svg", drawing)}>`,
    shape("rect", { width, height: y, fill: "#fff" }),
    text(12, 24, title, { "font-size": 14 }),
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}
