import { describe, expect, it } from "vitest";
import { codeOnly, importsOf, linesWith } from "./scan.js";

describe("codeOnly", () => {
  it.each([
    ["a; // Date.now()", "a;"],
    ["/* one\n two */ b", "\n        b"],
    ['say("Date.now()")', 'say("          ")'],
    ["say('it\\'s')", "say('     ')"],
    ["`text ${value + `in ${deep}`} end`", "`     ${value + `   ${deep}`}     `"],
    ["`a ${ { b: 1 } } c`", "`  ${ { b: 1 } }  `"],
    ["x = a / b / c; y", "x = a / b / c; y"],
    ['x = /["/]\\/"/.test(y); z', "x = /       /.test(y); z"],
    ["const u = 'http://host'; v", "const u = '           '; v"],
  ])("blanks comments and strings of %j", (source, expected) => {
    const code = codeOnly(source).trimEnd();
    expect(code.replace(/\s+/g, " ")).toBe(expected.replace(/\s+/g, " "));
    expect(codeOnly(source)).toHaveLength(source.length);
  });

  it("keeps line numbers", () => {
    expect(linesWith(codeOnly("/*\n*/\nDate.now()\n`\n${Date.now()}`"), /Date\.now/)).toEqual([
      3, 5,
    ]);
  });
});

describe("importsOf", () => {
  it("finds every form, and tells types from values", () => {
    const source = [
      'import a from "one";',
      'import { type B, c } from "./two.js";',
      'import { type D, type E } from "three";',
      'import type { F } from "four";',
      'import "five";',
      "import {",
      "  g,",
      '} from "six";',
      'export * from "seven";',
      'export type { H } from "eight";',
      'const late = await import("nine");',
      '// import x from "never";',
      "export const from = 1;",
      'import type from "ten";',
    ].join("\n");
    expect(importsOf(source)).toEqual([
      { from: "one", line: 1, typeOnly: false },
      { from: "./two.js", line: 2, typeOnly: false },
      { from: "three", line: 3, typeOnly: true },
      { from: "four", line: 4, typeOnly: true },
      { from: "five", line: 5, typeOnly: false },
      { from: "six", line: 6, typeOnly: false },
      { from: "seven", line: 9, typeOnly: false },
      { from: "eight", line: 10, typeOnly: true },
      { from: "nine", line: 11, typeOnly: false },
      { from: "ten", line: 14, typeOnly: false },
    ]);
  });
});
