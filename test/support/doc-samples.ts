import { readdirSync, readFileSync } from "node:fs";
import * as path from "node:path";

/**
 * One fenced block of a document. What stands in comments right before it says how it runs:
 *
 * - `norun: why` it does not, and why;
 * - `answers: 200 409` the HTTP statuses its curl calls get, where not all are below 400;
 * - `background: text` each of its commands goes on until the document ends, and is up once it says
 *   that;
 * - `file: name` under which it is kept for later samples;
 * - `before: code` what it needs before it and readers know already.
 */
export interface Sample {
  readonly doc: string;
  /** Of its first line of code, from 1. */
  readonly line: number;
  readonly language: string;
  readonly code: string;
  readonly directives: Readonly<Record<string, string>>;
}

export interface Link {
  readonly doc: string;
  readonly target: string;
}

/** Every document that people read, by its path from the root. */
export function documents(): string[] {
  const inDocs = readdirSync("docs").filter((name) => name.endsWith(".md"));
  const top = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "examples/README.md"];
  return [...top, ...inDocs.map((name) => `docs/${name}`).sort()];
}

const fence = /^```(\w*)\s*$/;
const comment = /<!--\s*([a-z]+):\s*([\s\S]*?)\s*-->\s*/g;

/** The fenced blocks of a text, in their order. Throws where a fence is not closed. */
export function samplesOf(doc: string, text: string = readFileSync(doc, "utf8")): Sample[] {
  const samples: Sample[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at += 1) {
    const language = fence.exec(lines[at]!)?.[1];
    if (language === undefined) continue;
    const end = lines.indexOf("```", at + 1);
    if (end === -1) throw new Error(`${doc}:${at + 1}: the fence is not closed`);
    const directives = directivesBefore(lines.slice(0, at).join("\n"));
    samples.push({
      doc,
      line: at + 2,
      language,
      code: lines.slice(at + 1, end).join("\n"),
      directives,
    });
    at = end;
  }
  return samples;
}

/** Those of the comments that end the text, with no other word after them. */
function directivesBefore(text: string): Record<string, string> {
  const tail = /(?:<!--(?:(?!-->)[\s\S])*-->\s*)+$/.exec(text)?.[0] ?? "";
  return Object.fromEntries([...tail.matchAll(comment)].map(([, name, value]) => [name, value]));
}

/** Links of a text that do not lead out of the project. */
export function linksOf(doc: string, text: string = readFileSync(doc, "utf8")): Link[] {
  const prose = text.replace(/^```[\s\S]*?^```$/gm, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)/gm)]
    .map(([, inline, reference]) => ({ doc, target: (inline ?? reference)! }))
    .filter(({ target }) => !/^[a-z]+:/.test(target));
}

/** Where a link leads: a path from the root, and the heading there, if it names one. */
export function targetOf({ doc, target }: Link): { file: string; anchor: string } {
  const [file = "", anchor = ""] = target.split("#");
  return { file: file === "" ? doc : path.join(path.dirname(doc), file), anchor };
}

/** Anchors as GitHub makes them of headings. */
export function anchorsOf(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```$/gm, "");
  return [...prose.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

/** Rows of the tables under a heading, as lists of cells without code marks. */
export function rowsUnder(doc: string, heading: string): string[][] {
  const text = readFileSync(doc, "utf8");
  const start = text.indexOf(`\n## ${heading}\n`);
  if (start === -1) throw new Error(`${doc}: there is no heading "${heading}"`);
  const end = text.indexOf("\n## ", start + 4);
  return text
    .slice(start, end === -1 ? undefined : end)
    .split("\n")
    .filter((line) => /^\| +`/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim().replaceAll("`", "")),
    );
}

const uuid = /^[0-9a-f]{8}-/;

/**
 * What of a documented answer a real one lacks, as paths; empty if nothing. Words must be equal;
 * ids, times, numbers and texts need only be ones.
 */
export function missing(shown: unknown, real: unknown, at = "$"): string[] {
  if (Array.isArray(shown)) {
    if (!Array.isArray(real)) return [`${at}: no list`];
    return shown.flatMap((item, index) => {
      const best = real.map((one) => missing(item, one, `${at}[${index}]`));
      return best.sort((a, b) => a.length - b.length)[0] ?? [`${at}[${index}]: missing`];
    });
  }
  if (typeof shown === "object" && shown !== null) {
    if (typeof real !== "object" || real === null) return [`${at}: no object`];
    return Object.entries(shown).flatMap(([key, value]) =>
      key in real
        ? missing(value, real[key as keyof typeof real], `${at}.${key}`)
        : [`${at}.${key}`],
    );
  }
  const free = typeof shown === "number" || (typeof shown === "string" && isFree(shown));
  const same = free ? typeof shown === typeof real : shown === real;
  return same ? [] : [`${at}: expected ${JSON.stringify(shown)}, got ${JSON.stringify(real)}`];
}

const isFree = (text: string): boolean => uuid.test(text) || !/^[a-z_.]*$/i.test(text);
