import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { describe, expect, it, test } from "vitest";
import { codeOnly, importsOf, linesWith } from "./support/scan.js";

/**
 * What each part of src/ may import, beside itself: the way of a task points down this list, never
 * up. A name is a folder or file of src/; `type:` allows its types only. All may use errors and
 * limits.
 */
const allowed: Record<string, string[]> = {
  "churn.ts": [],
  "clock.ts": [],
  "errors.ts": [],
  "limits.ts": [],
  "service.ts": ["clock.ts"],
  "nearest.ts": [],
  "short-text.ts": [],
  "traceparent.ts": [],
  wire: [],
  "config.ts": ["task", "settings"],
  settings: [],
  task: [],
  telemetry: ["clock.ts", "service.ts", "config.ts", "type:task"],
  auth: ["clock.ts", "service.ts", "config.ts", "telemetry/events.ts", "task"],
  broker: ["clock.ts", "service.ts", "telemetry/events.ts", "task"],
  history: ["clock.ts", "service.ts", "telemetry/events.ts", "task", "broker/broker.ts"],
  coordinator: [
    "clock.ts",
    "service.ts",
    "telemetry/events.ts",
    "task",
    "broker/broker.ts",
    "history/history.ts",
  ],
  maintenance: [
    "clock.ts",
    "service.ts",
    "telemetry/events.ts",
    "task",
    "coordinator",
    "broker/broker.ts",
    "history/history.ts",
  ],
  api: [
    "clock.ts",
    "service.ts",
    "telemetry",
    "config.ts",
    "task",
    "coordinator",
    "auth",
    "gen",
    "wire",
    "type:broker/broker.ts",
    "type:history/history.ts",
  ],
  transport: ["clock.ts", "service.ts", "gen", "wire"],
  client: ["clock.ts", "service.ts", "transport", "gen", "wire", "type:worker"],
  worker: ["clock.ts", "service.ts", "transport", "gen", "wire", "type:client"],
  doctor: ["clock.ts", "config.ts", "task", "broker", "history"],
  "migrate.ts": ["config.ts", "history"],
  cli: [
    "clock.ts",
    "service.ts",
    "config.ts",
    "client",
    "type:worker",
    "gen",
    "type:doctor",
    "type:migrate.ts",
  ],
  web: ["clock.ts", "service.ts", "client", "gen"],
  "broker/redis/record.ts": ["task", "clock.ts", "gen"],
  "server.ts": ["*"],
  "signals.ts": [],
  "serve.ts": ["config.ts", "signals.ts"],
  "serve-thread.ts": ["config.ts", "server.ts", "cli"],
  "dev.ts": ["config.ts", "server.ts", "signals.ts", "worker", "history/postgres/embedded.ts"],
  "main.ts": [
    "clock.ts",
    "config.ts",
    "serve.ts",
    "dev.ts",
    "doctor",
    "migrate.ts",
    "telemetry",
    "cli",
    "worker",
    "client",
  ],
};
const forAll = [
  "churn.ts",
  "errors.ts",
  "limits.ts",
  "nearest.ts",
  "short-text.ts",
  "traceparent.ts",
];

/** Packages that one part alone may know, so that it can be replaced there. */
const packageHomes: Record<string, string[]> = {
  ioredis: ["broker/redis/", "server.ts"],
  pg: ["history/postgres/", "server.ts"],
  "@grpc/grpc-js": ["api/", "transport/", "client/", "worker/"],
  "@connectrpc/connect": ["api/", "transport/", "client/", "worker/", "web/"],
  "@connectrpc/connect-node": ["api/", "transport/", "client/", "worker/", "server.ts"],
  pino: ["telemetry/", "worker/", "server.ts", "main.ts"],
  commander: ["cli/", "main.ts"],
};

/** Never in src/, beside the one place named. */
const bans: { what: string; pattern: RegExp; except?: RegExp }[] = [
  { what: "Date.now: use Clock.now", pattern: /\bDate\.now\b/, except: /^clock\.ts$/ },
  { what: "new Date() reads the clock: give it a time", pattern: /\bnew Date\(\s*\)/ },
  {
    what: "performance.now: use Clock.monotonic",
    pattern: /\bperformance\.\w/,
    except: /^clock\.ts$/,
  },
  { what: "process.hrtime: use Clock.monotonic", pattern: /\bprocess\.hrtime\b/ },
  {
    what: "timers: use Clock.after or Clock.sleep",
    pattern: /\b(setTimeout|setInterval)\s*\(|\bAbortSignal\.timeout\b/,
    except: /^clock\.ts$/,
  },
  {
    what: "chance: use Random",
    pattern: /\bMath\.random\b|\b(randomUUID|randomBytes|randomInt|getRandomValues)\b/,
    except: /^clock\.ts$/,
  },
  {
    what: "console: use the logger",
    pattern: /\bconsole\.\w/,
    except: /^(cli\/|main\.ts$)/,
  },
  { what: "any: use unknown", pattern: /(:|<|\bas|,)\s*any\b(?!\s*\()/ },
  { what: "job: the word is task", pattern: /\bjobs?\b/i },
];

/** Put together here so that this file does not break its own rule. */
const unfinished = new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X"].join("|")})\\b`);

interface SourceFile {
  /** Relative to the root it was listed under. */
  name: string;
  text: string;
}

function filesUnder(root: string, ending: RegExp): SourceFile[] {
  let entries;
  try {
    entries = readdirSync(root, { recursive: true, withFileTypes: true });
  } catch {
    return [];
  }
  return entries
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .filter((entry) => !entry.parentPath.includes("node_modules"))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .map((file) => ({ name: path.relative(root, file), text: readFileSync(file, "utf8") }));
}

const source = filesUnder("src", /\.ts$/);
const everything = ["src", "test", "bench", "examples", ".ci/scripts"].flatMap((root) =>
  filesUnder(root, /\.(ts|lua|sql|sh)$/).map((file) => ({ ...file, name: `${root}/${file.name}` })),
);

/** The part of src/ that a file belongs to: itself where a rule names it, else its folder. */
function partOf(file: string): string {
  return file in allowed ? file : (file.split("/")[0] ?? file);
}

function mayImport(file: string, target: string, typeOnly: boolean): boolean {
  const part = partOf(file);
  const folder = target.split("/")[0];
  if (forAll.includes(target) || (folder === file.split("/")[0] && file.includes("/"))) return true;
  return (allowed[part] ?? []).some((rule) => {
    const name = rule.replace(/^type:/, "");
    if (rule !== name && !typeOnly) return false;
    return name === "*" || name === target || name === folder;
  });
}

/** Where a relative import leads: a path in src/, or `gen`. */
function resolve(file: string, from: string): string {
  const target = path.posix.join(path.posix.dirname(`src/${file}`), from);
  if (target.startsWith("gen/")) return "gen";
  return target.replace(/^src\//, "").replace(/\.js$/, ".ts");
}

function forbiddenImports({ name, text }: SourceFile): string[] {
  return importsOf(text).flatMap(({ from, line, typeOnly }) => {
    if (from.startsWith(".")) {
      const target = resolve(name, from);
      return mayImport(name, target, typeOnly) ? [] : [`src/${name}:${line} imports ${target}`];
    }
    const homes = packageHomes[from];
    const atHome = !homes || homes.some((home) => name.startsWith(home));
    return atHome ? [] : [`src/${name}:${line} imports ${from}`];
  });
}

function banned({ name, text }: SourceFile): string[] {
  const code = codeOnly(text);
  return bans
    .filter(({ except }) => !except?.test(name))
    .flatMap(({ what, pattern }) =>
      linesWith(code, pattern).map((line) => `src/${name}:${line}: ${what}`),
    );
}

describe("the sources keep their rules", () => {
  it("imports point down the way of a task", () => {
    expect(source.flatMap(forbiddenImports)).toEqual([]);
  });

  it("time and chance come from the clock, talk goes to the log", () => {
    expect(source.flatMap(banned)).toEqual([]);
  });

  it("every part of src/ has its rule", () => {
    const parts = new Set(source.map(({ name }) => partOf(name)));
    expect([...parts].filter((part) => !(part in allowed))).toEqual([]);
  });

  it("nothing is left unfinished", () => {
    const left = everything.flatMap(({ name, text }) =>
      linesWith(text, unfinished).map((line) => `${name}:${line}`),
    );
    expect(left).toEqual([]);
  });

  it("no line is over 100 columns", () => {
    // Imports and titles of tests stay on one line, however long: the formatter keeps them so.
    const kept = /^(import|export|\} from) |^ *(it|test|describe)(\.\w+)*\("/;
    const long = everything.flatMap(({ name, text }) => {
      const lines = text.split("\n");
      return linesWith(text, /^.{101,}$/u)
        .filter((line) => !kept.test(lines[line - 1] ?? ""))
        .map((line) => `${name}:${line}`);
    });
    expect(long).toEqual([]);
  });

  it("no file is over 400 lines, no test over 600", () => {
    const long = everything
      .map(({ name, text }) => ({ name, lines: text.trimEnd().split("\n").length }))
      .filter(({ name, lines }) => lines > (/^(test|bench)\//.test(name) ? 600 : 400));
    expect(long).toEqual([]);
  });

  it("files are named in kebab-case, scripts for the stores as their names are called", () => {
    const odd = everything.filter(
      ({ name }) =>
        !/^[a-z0-9-]+(\.test)?\.(ts|sh)$|^[a-z0-9_-]+\.(lua|sql)$/.test(path.basename(name)),
    );
    expect(odd.map(({ name }) => name)).toEqual([]);
  });
});

describe("the rules bite", () => {
  const forbidden = (name: string, text: string) => forbiddenImports({ name, text }).length;
  const bannedIn = (name: string, text: string) => banned({ name, text }).length;

  it.each([
    ["task/retry.ts", 'import { x } from "../clock.js";'],
    ["broker/redis/redis-broker.ts", 'import { x } from "../../coordinator/parts.js";'],
    ["coordinator/coordinator.ts", 'import { x } from "../broker/memory/memory-broker.js";'],
    ["coordinator/coordinator.ts", 'import { x } from "../../gen/drover/v1/task_pb.js";'],
    ["client/index.ts", 'import { x } from "../worker/index.js";'],
    ["api/grpc.ts", 'import pg from "pg";'],
    ["api/grpc.ts", 'const x = await import("../server.js");'],
  ])("%s may not %s", (name, text) => {
    expect(forbidden(name, text)).toBe(1);
  });

  it.each([
    ["task/retry.ts", 'import { x } from "../limits.js";'],
    ["broker/redis/record.ts", 'import { x } from "../../../gen/drover/v1/task_pb.js";'],
    ["coordinator/coordinator.ts", 'import { x } from "../broker/broker.js";'],
    ["client/index.ts", 'import type { X } from "../worker/index.js";'],
    ["server.ts", 'import { x } from "./broker/redis/redis-broker.js";'],
  ])("%s may %s", (name, text) => {
    expect(forbidden(name, text)).toBe(0);
  });

  it.each([
    "const t = Date.now();",
    "const t = new Date();",
    "const t = performance.now();",
    "setTimeout(go, 5);",
    "const s = AbortSignal.timeout(5);",
    "const r = Math.random();",
    "const id = `${crypto.randomUUID()}`;",
    'console.log("hello");',
    "function f(x: any) {}",
    "const job = 1;",
  ])("%s is refused", (text) => {
    expect(bannedIn("api/grpc.ts", text)).toBe(1);
  });

  it.each([
    "// Date.now() is banned",
    'say("Math.random")',
    "new Date(clock.now())",
    "anyOf(a, any)",
  ])("%s is let through", (text) => {
    expect(bannedIn("api/grpc.ts", text)).toBe(text.includes(", any") ? 1 : 0);
  });
});

test("the linter refuses functions over 70 lines, any, and promises nobody waits for", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "drover-lint-"));
  const body = Array.from({ length: 70 }, (_, n) => `  void ${n};`).join("\n");
  const bad = [
    `export function long(): void {\n${body}\n}`,
    "export const loose: any = 1;",
    "export function forgets(): void {\n  Promise.resolve(1);\n}",
  ].join("\n");
  writeFileSync(path.join(folder, "bad.ts"), `${bad}\n`);
  let output = "";
  try {
    const config = ["-c", path.resolve(".oxlintrc.json"), "--type-aware"];
    const bin = path.resolve("node_modules/.bin");
    execFileSync("oxlint", [...config, "bad.ts"], {
      cwd: folder,
      env: { ...process.env, PATH: `${bin}${path.delimiter}${process.env.PATH}` },
    });
  } catch (error) {
    output = String((error as { stdout: Buffer }).stdout);
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const rule of ["max-lines-per-function", "no-explicit-any", "no-floating-promises"]) {
    expect(output).toContain(rule);
  }
});

test.each(["package-lock.json", "bench/package-lock.json"])("%s names no registry", (lock) => {
  expect(readFileSync(lock, "utf8")).not.toContain('"resolved"');
});
