import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { Exit } from "../src/cli/exit.js";

const dir = mkdtempSync(path.join(tmpdir(), "drover-serve-"));
const started = new Set<ChildProcess>();

afterEach(() => {
  for (const child of started) child.kill("SIGKILL");
  started.clear();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const threads = 'const { isMainThread, parentPort } = require("node:worker_threads");';

/** `drover serve` of the build, on memory. `probe`: what each of its threads runs first. */
function serve(env: Record<string, string> = {}, probe = "") {
  const file = path.join(dir, `probe-${started.size}.cjs`);
  writeFileSync(file, threads + probe);
  const args = ["--require", file, "dist/main.js", "serve"];
  const stores = { DROVER_BROKER: "memory", DROVER_HISTORY: "memory", PORT: "0", GRPC_PORT: "0" };
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH, ...stores, ...env },
  });
  started.add(child);
  let said = "";
  const waiting = new Map<string, () => void>();
  child.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
    for (const [text, resolve] of waiting) if (said.includes(text)) resolve();
  });
  return {
    child,
    said: () => said,
    /** Resolves when it has said so. */
    says: (text: string) => new Promise<void>((resolve) => void waiting.set(text, resolve)),
    /** Resolves with its exit code. */
    ended: once(child, "close").then(([code]) => code as number | null),
  };
}

describe("drover serve", { timeout: 30_000 }, () => {
  it.each(["SIGTERM", "SIGINT"] as const)("ends in order when told so by %s", async (signal) => {
    const server = serve();
    await server.says('"msg":"server.started"');
    server.child.kill(signal);
    expect(await server.ended).toBe(0);
    expect(server.said()).toContain(`"reason":"${signal}","msg":"server.stopping"`);
    expect(server.said()).toContain('"msg":"server.stopped"');
  });

  it("hears a signal before it has started", async () => {
    const server = serve({}, `if (!isMainThread) process.kill(process.pid, "SIGTERM");`);
    expect(await server.ended).toBe(0);
    expect(server.said()).toContain('"msg":"server.stopped"');
  });

  it("says why it cannot start, and ends with that code", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const server = serve({ PORT: String(port) });
    expect(await server.ended).toBe(Exit.refused);
    expect(server.said()).toContain("Another process listens there");
    other.close();
  });

  it("dies of what nobody caught, and shows where it was", async () => {
    const probe = 'if (!isMainThread) setImmediate(() => { throw new Error("not caught"); });';
    const server = serve({}, probe);
    expect(await server.ended).toBe(1);
    expect(server.said()).toMatch(/Error: not caught\n\s+at .*probe-0\.cjs/);
  });

  it("has 64 MB for what is young from the start", async () => {
    const probe = `
      const { space_size } = require("node:v8").getHeapSpaceStatistics()
        .find(({ space_name }) => space_name === "new_space");
      if (!isMainThread) console.error("young " + space_size / 2 ** 20 + " MB");`;
    const server = serve({}, probe);
    await server.says("server.started");
    expect(server.said()).toMatch(/young (64|128) MB/);
  });
});
