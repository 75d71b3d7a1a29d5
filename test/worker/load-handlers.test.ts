import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Exit, exitCodeOf } from "../../src/cli/exit.js";
import { createWorker, loadHandlers } from "../../src/worker/index.js";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "drover-handlers-"));
});
afterEach(() => rm(directory, { recursive: true }));

const write = (name: string, text: string) => writeFile(join(directory, name), text);

describe("loading handlers", () => {
  it("takes default exports, arrays and named exports, in the order of the files", async () => {
    await write("b.mjs", 'export default { type: "b", queue: "slow", handle: () => 2 };');
    await write("a.mjs", 'export default [{ type: "a", handle: () => 1 }];');
    await write("c.mjs", 'export const helper = 1; export const c = { type: "c", handle() {} };');
    await write("types.d.ts", "export {};");
    await write("c.test.mjs", 'throw new Error("a test is no handler");');
    await write("notes.txt", "no module");
    const loaded = await loadHandlers(directory);
    expect(loaded.map(({ type, queue }) => [type, queue])).toEqual([
      ["a", undefined],
      ["b", "slow"],
      ["c", undefined],
    ]);
  });

  it.each([
    ["a module that does not load", 'throw new Error("oh no");', /a\.mjs: .*oh no/],
    ["a module without handlers", "export const x = 1;", /a\.mjs: expected a default export/],
    ["a handler that is none", 'export default { type: "a", handle: 3 };', /a\.mjs: .*number/],
    ["a malformed type", 'export default { type: "a b", handle() {} };', /a\.mjs: .*"a b"/],
    [
      "a type given twice",
      'const h = { handle() {}, type: "a" }; export default [h, { ...h }];',
      /a\.mjs: expected one handler for type a/,
    ],
  ])("names the file with %s", async (_what, text, message) => {
    await write("a.mjs", text);
    const error = await loadHandlers(directory).catch((thrown: unknown) => thrown);
    expect((error as Error).message).toMatch(message);
    expect(exitCodeOf(error)).toBe(Exit.usage);
  });

  it("says so when there is nothing to load", async () => {
    await expect(loadHandlers(directory)).rejects.toThrow("found none");
    await expect(loadHandlers(join(directory, "gone"))).rejects.toThrow("can be read");
  });
});

describe("the options of a worker", () => {
  it.each([
    [{ workerId: "a b" }, /workerId/],
    [{ concurrency: 0 }, /concurrency.*1 to 10000.*0/],
    [{ queues: [""] }, /queues/],
    [{ labels: { "a b": "c" } }, /label/],
    [{ address: "nowhere" }, /host:port.*"nowhere"/],
  ])("%j are refused", (options, message) => {
    expect(() => createWorker(options)).toThrow(message);
  });

  it("give a type one handler only, and need one at all", async () => {
    const worker = createWorker().handle("a", () => null);
    expect(() => worker.handle("a", () => null)).toThrow("it has one already");
    await expect(createWorker().start()).rejects.toThrow("no handlers");
  });
});
