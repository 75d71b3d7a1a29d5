/**
 * Wraps comment lines over 100 columns, which the formatter leaves alone: what is too much moves to
 * the next line of the same paragraph, or to a new one. Arguments: files and folders.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import * as path from "node:path";

const limit = 100;
/** Indent and comment mark, then the text's own indent. */
const commentLine = /^(\s*(?:\/\/|\*|--|#)(?!\/))(\s+)(\S.*)$/;
const oneLineDoc = /^(\s*)\/\*\*\s+(.*?)\s*\*\/$/;
const listMarker = /^(?:[-*]|\d+\.)\s+(?:[A-Z]\d+\s+)?/;
/** Pictures and tables are not prose. */
const drawing = /[\u2500-\u25ff]|\S {3,}\S|^\|/;
const startsAnew = /^(?:[-*@|]|\d+\.|[A-Z]+\[|KEYS|ARGV|Returns|returns\b|`{3})/;

function wrap(source: string): string {
  const lines = source.split("\n").flatMap(openLongDoc);
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    const parts = line.length > limit ? commentLine.exec(line) : null;
    if (!parts || drawing.test(parts[3] ?? "")) continue;
    const [, mark = "", gap = " ", text = ""] = parts;
    const cut = text.lastIndexOf(" ", limit - mark.length - gap.length);
    const marker = listMarker.exec(text)?.[0].length ?? 0;
    if (cut <= marker) continue;
    lines[at] = `${mark}${gap}${text.slice(0, cut)}`;
    const rest = text.slice(cut + 1);
    const next = commentLine.exec(lines[at + 1] ?? "");
    const nextGap = next?.[2] ?? "";
    // An item of a list goes on with a deeper indent, plain text with the same.
    const fits = marker > 0 ? nextGap.length > gap.length : nextGap === gap;
    if (next?.[1] === mark && fits && !startsAnew.test(next[3] ?? "")) {
      lines[at + 1] = `${mark}${nextGap}${rest} ${next[3]}`;
    } else {
      lines.splice(at + 1, 0, `${mark}${gap}${" ".repeat(marker)}${rest}`);
    }
  }
  return lines.join("\n");
}

function openLongDoc(line: string): string[] {
  const doc = line.length > limit ? oneLineDoc.exec(line) : null;
  return doc ? [`${doc[1]}/**`, `${doc[1]} * ${doc[2]}`, `${doc[1]} */`] : [line];
}

function filesIn(name: string): string[] {
  if (!statSync(name).isDirectory()) return [name];
  return readdirSync(name).flatMap((entry) => filesIn(path.join(name, entry)));
}

for (const file of process.argv.slice(2).flatMap(filesIn)) {
  if (!/\.(ts|lua|sql|sh)$/.test(file)) continue;
  const source = readFileSync(file, "utf8");
  const wrapped = wrap(source);
  if (wrapped !== source) writeFileSync(file, wrapped);
}
