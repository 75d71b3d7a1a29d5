/**
 * A light scanner of TypeScript for test/tidy.test.ts. It knows comments, strings, templates and
 * imports, no more: the compiler has no interface for programs in this major version.
 */

export interface Import {
  /** As written, e.g. `../task/task.js` or `pg`. */
  from: string;
  line: number;
  /** true when nothing of it is left at run time. */
  typeOnly: boolean;
}

/**
 * The source with the inside of comments and strings blanked; code inside `${}` stays, lines keep
 * their numbers.
 */
export function codeOnly(source: string): string {
  return scan(source, true);
}

/** The source with comments blanked and strings kept. */
export function withoutComments(source: string): string {
  return scan(source, false);
}

/** Every import, export-from and dynamic import with a literal name. */
export function importsOf(source: string): Import[] {
  const text = withoutComments(source);
  const found: Import[] = [];
  const add = (index: number, from: string, typeOnly: boolean) =>
    found.push({ from, line: text.slice(0, index).split("\n").length, typeOnly });
  const declarations =
    /^\s*(import|export)\b(?:\s+(type)\b(?!\s+from\b))?([^;"'=()]*?\bfrom\b)?\s*["'](.+?)["']/gm;
  for (const match of text.matchAll(declarations)) {
    const names = /\{([^}]*)\}/.exec(match[3] ?? "")?.[1]?.split(",") ?? [];
    const named = names.map((name) => name.trim()).filter((name) => name !== "");
    const allTypes = named.length > 0 && named.every((name) => name.startsWith("type "));
    const onlyNames = /^\s*\{[^}]*\}\s*from$/.test(match[3] ?? "");
    add(match.index, match[4] ?? "", match[2] === "type" || (allTypes && onlyNames));
  }
  for (const match of text.matchAll(/\bimport\(\s*["']([^"']+)["']/g)) {
    add(match.index, match[1] ?? "", false);
  }
  return found.toSorted((a, b) => a.line - b.line);
}

/** Lines of the source, from 1, on which the pattern occurs. */
export function linesWith(text: string, pattern: RegExp): number[] {
  return text.split("\n").flatMap((line, index) => (pattern.test(line) ? [index + 1] : []));
}

function scan(source: string, blankStrings: boolean): string {
  let out = "";
  let at = 0;
  // One entry for each open template: how many braces are open inside its present `${`.
  const templates: number[] = [];
  while (at < source.length) {
    const rest = source.slice(at);
    const char = source[at] ?? "";
    const regex = char === "/" ? regexAt(source, at) : 0;
    if (rest.startsWith("//") || rest.startsWith("/*")) {
      const end = rest.startsWith("//") ? source.indexOf("\n", at) : source.indexOf("*/", at) + 2;
      const stop = end < at + 2 ? source.length : end;
      out += blank(source.slice(at, stop));
      at = stop;
    } else if (char === '"' || char === "'") {
      const stop = endOfString(source, at, char);
      out += keepEnds(source.slice(at, stop), blankStrings);
      at = stop;
    } else if (char === "`" || (char === "}" && templates.at(-1) === 0)) {
      if (char === "}") templates.pop();
      const { stop, opens } = endOfTemplatePart(source, at);
      out += keepEnds(source.slice(at, stop), blankStrings, opens ? 2 : 1);
      if (opens) templates.push(0);
      at = stop;
    } else if (regex > 0) {
      out += keepEnds(source.slice(at, at + regex), blankStrings);
      at += regex;
    } else {
      if (templates.length > 0 && char === "{") templates[templates.length - 1]! += 1;
      if (templates.length > 0 && char === "}") templates[templates.length - 1]! -= 1;
      out += char;
      at += 1;
    }
  }
  return out;
}

const blank = (text: string) => text.replace(/[^\n]/g, " ");

function keepEnds(text: string, blanked: boolean, tail = 1): string {
  if (!blanked) return text;
  return (
    text.slice(0, 1) + blank(text.slice(1, -tail)) + text.slice(Math.max(1, text.length - tail))
  );
}

function endOfString(source: string, start: number, quote: string): number {
  for (let at = start + 1; at < source.length; at += 1) {
    if (source[at] === "\\") at += 1;
    else if (source[at] === quote || source[at] === "\n") return at + 1;
  }
  return source.length;
}

/** A template's text from a backtick or a closing brace to the next backtick or the next `${`. */
function endOfTemplatePart(source: string, start: number): { stop: number; opens: boolean } {
  for (let at = start + 1; at < source.length; at += 1) {
    if (source[at] === "\\") at += 1;
    else if (source[at] === "`") return { stop: at + 1, opens: false };
    else if (source.startsWith("${", at)) return { stop: at + 2, opens: true };
  }
  return { stop: source.length, opens: false };
}

/**
 * Length of the regular expression that begins here; 0 where the slash divides or begins a comment.
 */
function regexAt(source: string, at: number): number {
  const next = source[at + 1];
  if (next === "/" || next === "*") return 0;
  const before = source.slice(0, at).trimEnd();
  const divides = /[\w$)\]}]$/.test(before) && !/\b(return|typeof|case|in|of)$/.test(before);
  if (divides) return 0;
  return (
    /^\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/[a-z]*/.exec(source.slice(at))?.[0].length ?? 0
  );
}
