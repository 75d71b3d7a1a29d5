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
const startsAnew = /^(?:[-*@|]|\d+\.|[A-Z]+\[|KEYS|ARGV|Returns|returns\b|`{3})/;

function wrap(source: string): string {
  const lines = source.split("\n").flatMap(openLongDoc);
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    const parts = line.length > limit ? commentLine.exec(line) : null;
    if (!parts) continue;
    const [, mark = "", gap = " ", text = ""] = parts;
    const room = limit - mark.length - gap.length;
    const cut = text.lastIndexOf(" ", room);
    if (cut <= 0) continue;
    const rest = text.slice(cut + 1);
    lines[at] = `${mark}${gap}${text.slice(0, cut)}`;
    const next = commentLine.exec(lines[at + 1] ?? "");
    const goesOn = next && next[1] === mark && next[2] === gap && !startsAnew.test(next[3] ?? "");
    if (goesOn) lines[at + 1] = `${mark}${gap}${rest} ${next[3]}`;
    else lines.splice(at + 1, 0, `${mark}${gap}${rest}`);
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
