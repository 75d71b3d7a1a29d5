import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runBin } from "../support/bin.js";
import { freshPrefix, freshSchema, sharedPostgres, sharedRedis } from "../support/stores.js";

const run = promisify(execFile);
const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];

/** Submits through the installed client, runs in the installed worker. */
const program = `
  import { createClient } from "drover/client";
  import { createWorker } from "drover/worker";
  const none = () => undefined;
  const logger = { debug: none, info: none, warn: none, error: none };
  const worker = createWorker({ logger });
  worker.handle("double", ({ n }) => ({ n: 2 * n }));
  await worker.start();
  const client = createClient();
  const { id } = await client.submit("double", { n: 21 });
  const task = await client.wait(id);
  console.log(task.status, JSON.stringify(task.result));
  await worker.stop();
  await client.close();
`;

describe("the npm package", () => {
  let dir: string;
  let bin: string;

  beforeAll(async () => {
    dir = mkdtempSync(path.join(tmpdir(), "drover-package-"));
    const packed = await run("npm", [
      "pack",
      "--ignore-scripts",
      "--silent",
      "--pack-destination",
      dir,
    ]);
    const tarball = path.join(dir, packed.stdout.trim());
    writeFileSync(path.join(dir, "package.json"), '{"name":"empty","type":"module"}');
    await run("npm", ["install", "--prefer-offline", ...quiet, tarball], { cwd: dir });
    bin = path.join(dir, "node_modules", "drover", "dist", "main.js");
  }, 300_000);

  afterAll(() => {
    rmSync(dir, { recursive: true, force: true });
  });

  it("runs drover dev with its sample handlers", async () => {
    const dev = runBin(["dev", "--memory", "--check"], { cwd: dir, bin });
    expect(await dev.exited, dev.output()).toBe(0);
  }, 90_000);

  it("serves from Redis and Postgres, so no Lua and no SQL file was lost", async () => {
    const env = {
      REDIS_URL: (await sharedRedis()).url,
      DROVER_REDIS_PREFIX: freshPrefix(),
      DATABASE_URL: (await sharedPostgres()).url,
      DROVER_DATABASE_SCHEMA: freshSchema(),
    };
    const server = runBin(["serve"], { cwd: dir, bin, env });
    await server.says("server.started");
    const grpcPort = /"grpcPort":(\d+)/.exec(server.output())![1]!;
    writeFileSync(path.join(dir, "program.js"), program);
    const { stdout } = await run(process.execPath, ["program.js"], {
      cwd: dir,
      env: { ...process.env, DROVER_ADDR: `127.0.0.1:${grpcPort}` },
    });
    expect(stdout.trim()).toBe('completed {"n":42}');
    server.child.kill("SIGTERM");
    expect(await server.exited, server.output()).toBe(0);
  }, 90_000);
});
