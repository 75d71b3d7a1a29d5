import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Exit } from "../../src/cli/exit.js";
import { runBin } from "../support/bin.js";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "drover-demo-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const names = ["send-email", "process-image", "export-data", "call-webhook"] as const;
type Name = (typeof names)[number];

/** Handlers that answer as the real ones do, and do nothing, or not what was asked. */
const liars: Record<Name, string> = {
  "send-email": `export default { type: "send_email",
    handle: async (payload, { taskId }) => ({ message_id: taskId, response: "250 OK" }) };`,
  "process-image": `import { createHash } from "node:crypto";
    import { writeFile } from "node:fs/promises";
    export default { type: "process_image", handle: async ({ image_url }, { taskId }) => {
      const data = Buffer.from(await (await fetch(image_url)).arrayBuffer());
      const path = process.env.DROVER_OUTPUT_DIR + "/" + taskId + ".jpeg";
      await writeFile(path, data);
      const sha256 = createHash("sha256").update(data).digest("hex");
      return { path, bytes: data.length, sha256, width: 320, height: 240, format: "jpeg" };
    } };`,
  "export-data": `import { createHash } from "node:crypto";
    import { readFile, writeFile } from "node:fs/promises";
    import real from "${fileUrl("export-data")}";
    export default { type: "export_data", handle: async (payload, context) => {
      const result = await real.handle(payload, context);
      const lines = (await readFile(result.path, "utf8")).split("\\r\\n");
      const short = [lines[0], ...lines.slice(2)].join("\\r\\n");
      await writeFile(result.path, short);
      return { ...result, sha256: createHash("sha256").update(short).digest("hex") };
    } };`,
  "call-webhook": `export default { type: "call_webhook", 
    handle: async ({ url, method, body }, { taskId }) => {
      const headers = { "content-type": "application/json", "webhook-id": taskId,
        "idempotency-key": taskId, "webhook-timestamp": "1", "webhook-signature": "v1,AAAA" };
      const response = await fetch(url, { method, headers, body: JSON.stringify(body) });
      await response.text();
      return { status: 200, response_bytes: 17 };
    } };`,
};

function fileUrl(name: Name): string {
  return pathToFileURL(path.resolve(`dist/examples/handlers/${name}.js`)).href;
}

function handlersWith(liar: Name): string {
  const handlers = path.join(dir, "handlers");
  mkdirSync(handlers);
  for (const name of names) {
    const honest = `export { default } from "${fileUrl(name)}";`;
    writeFileSync(path.join(handlers, `${name}.mjs`), name === liar ? liars[name] : honest);
  }
  return handlers;
}

describe("the demo", () => {
  it("ends with 0 when all four effects are seen, on a real Postgres of its own", async () => {
    const run = runBin(["dev", "--check", "--data-dir", dir]);
    expect(await run.exited, run.output()).toBe(0);
    for (const effect of ["mail", "image", "export", "webhook"]) {
      expect(run.output()).toContain(`ok   ${effect}`);
    }
  }, 90_000);

  const effects = { "send-email": "mail", "process-image": "image", "export-data": "export" };
  it.each(Object.entries({ ...effects, "call-webhook": "webhook" }))(
    "ends with 1 when %s only says it did its work",
    async (liar, effect) => {
      const handlers = handlersWith(liar as Name);
      const run = runBin(["dev", "--memory", "--check", "--data-dir", dir, "--handlers", handlers]);
      expect(await run.exited, run.output()).toBe(1);
      expect(run.output()).toContain(`FAIL ${effect}`);
      const seen = run.output().match(/ok {3}\w+:/g);
      expect(seen).toHaveLength(3);
    },
    60_000,
  );
});

describe("drover dev", () => {
  it("runs from a directory that others cannot enter, and stops within 10 s of SIGTERM", async () => {
    chmodSync(dir, 0o700);
    const run = runBin(["dev", "--samples"], { cwd: dir });
    await run.says("All four sample tasks did their work.");
    await run.says("Try it");
    const before = performance.now();
    run.child.kill("SIGTERM");
    expect(await run.exited, run.output()).toBe(0);
    expect(performance.now() - before).toBeLessThan(10_000);
  }, 90_000);

  it("keeps finished tasks over a restart", async () => {
    const first = runBin(["dev", "--samples", "--data-dir", dir]);
    await first.says("Try it");
    const id = /tasks\/([0-9a-f-]{36})/.exec(first.output())![1]!;
    first.child.kill("SIGINT");
    expect(await first.exited, first.output()).toBe(0);
    const second = runBin(["dev", "--samples", "--data-dir", dir]);
    await second.says("Try it");
    const url = /REST on (\S+)/.exec(second.output())![1]!;
    const response = await fetch(`${url}/api/v1/tasks/${id}`);
    expect(await response.json()).toMatchObject({ id, status: "completed" });
    second.child.kill("SIGTERM");
    expect(await second.exited, second.output()).toBe(0);
  }, 120_000);

  it("says in one line that a port is taken, and leaves nothing running", async () => {
    const first = runBin(["dev", "--memory", "--samples", "--data-dir", dir]);
    await first.says("Try it");
    for (const [flag, where] of [
      ["--port", /REST on http:\/\/127.0.0.1:(\d+)/],
      ["--grpc-port", /gRPC on 127.0.0.1:(\d+)/],
    ] as const) {
      const port = where.exec(first.output())![1]!;
      const second = runBin(["dev", "--memory", flag, port, "--data-dir", path.join(dir, "b")]);
      expect(await second.exited).toBe(Exit.refused);
      expect(second.output()).toContain(`address already in use 127.0.0.1:${port}`);
      expect(second.output()).toContain("choose another port");
      expect(second.output()).not.toContain("    at ");
    }
    first.child.kill("SIGTERM");
    expect(await first.exited, first.output()).toBe(0);
  }, 60_000);
});
