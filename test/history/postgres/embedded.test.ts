import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from "../../../src/history/postgres/embedded.js";

const started: EmbeddedPostgres[] = [];
let folder: string;

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(tmpdir(), `drover-test-${process.pid}-embedded-`));
  // What a cautious person's home looks like: nobody else may enter.
  fs.chmodSync(folder, 0o700);
});

afterAll(async () => {
  for (const server of started) {
    await server.stop();
    await server.deleteData();
  }
  fs.rmSync(folder, { recursive: true, force: true });
});

async function start(dataDir: string, persistent = true): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, persistent });
  started.push(server);
  return server;
}

async function query(server: EmbeddedPostgres, text: string): Promise<unknown[]> {
  const client = new Client(server.url);
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

/** The folder with data/: the one named, or the one its note names. */
function homeOf(dataDir: string): string {
  const note = path.join(dataDir, "LOCATION");
  return fs.existsSync(note) ? fs.readFileSync(note, "utf8").trim() : dataDir;
}

/** Another process that starts the server in `dataDir`, says so, and lives on. */
async function startElsewhere(dataDir: string): Promise<{ owner: ChildProcess; server: number }> {
  const script = path.join(folder, "other.mjs");
  const module = path.resolve("dist/history/postgres/embedded.js");
  fs.writeFileSync(
    script,
    `import { startEmbeddedPostgres } from ${JSON.stringify(module)};
     const options = { dataDir: process.argv[2], persistent: true };
     console.log(String((await startEmbeddedPostgres(options)).pid));`,
  );
  const owner = spawn(process.execPath, [script, dataDir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(owner.stdout!, "data")) as [Buffer];
  return { owner, server: Number(line.toString()) };
}

describe("startEmbeddedPostgres", () => {
  it("keeps the rows of a persistent server in a 0700 directory until they are deleted", async () => {
    const dataDir = path.join(folder, "kept");
    const first = await start(dataDir);
    await query(first, "CREATE TABLE kept AS SELECT 7 AS n");
    await first.stop();
    const second = await start(dataDir);
    expect(await query(second, "SELECT n FROM kept")).toEqual([{ n: 7 }]);
    await second.stop();
    const home = homeOf(dataDir);
    await second.deleteData();
    expect([fs.existsSync(home), fs.existsSync(dataDir)]).toEqual([false, false]);
  });

  it("leaves nothing of a server that is not persistent", async () => {
    const dataDir = path.join(folder, "passing");
    const server = await start(dataDir, false);
    const home = homeOf(dataDir);
    await server.stop();
    expect([fs.existsSync(home), fs.existsSync(dataDir)]).toEqual([false, false]);
    expect(() => process.kill(server.pid, 0)).toThrow("ESRCH");
  });

  it("asks for a password", async () => {
    const server = await start(path.join(folder, "guarded"), false);
    const client = new Client(server.url.replace(/:[^:@]+@/, ":wrong@"));
    await expect(client.connect()).rejects.toThrow("password authentication failed");
    await server.stop();
  });

  it("starts after a crash, though the stale pid file names a living process", async () => {
    const dataDir = path.join(folder, "stale");
    const first = await start(dataDir);
    process.kill(first.pid, "SIGKILL");
    await first.exited;
    const pidFile = path.join(homeOf(dataDir), "data", "postmaster.pid");
    const text = fs.readFileSync(pidFile, "utf8");
    fs.writeFileSync(pidFile, text.replace(/^\d+/, String(process.pid)));
    await first.stop();
    const second = await start(dataDir);
    expect(await query(second, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
    await second.stop();
  });

  it("refuses a directory another living process uses, and takes it over once that is killed", async () => {
    const dataDir = path.join(folder, "shared");
    const { owner, server } = await startElsewhere(dataDir);
    await expect(start(dataDir)).rejects.toMatchObject({
      id: "embedded_postgres_failed",
      message: expect.stringContaining(`in use by process ${owner.pid}`),
      hint: expect.stringContaining("another data directory"),
    });
    owner.kill("SIGKILL");
    await once(owner, "exit");
    const next = await start(dataDir);
    expect(() => process.kill(server, 0)).toThrow("ESRCH");
    expect(await query(next, "SELECT 1 AS n")).toEqual([{ n: 1 }]);
    await next.stop();
  });

  it("lets one of two starts at the same moment win", async () => {
    const dataDir = path.join(folder, "raced");
    const results = await Promise.allSettled([start(dataDir), start(dataDir)]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    for (const one of results) if (one.status === "fulfilled") await one.value.stop();
  });

  it("says why a start failed, and leaves no process", async () => {
    const dataDir = path.join(folder, "refused");
    const settings = { no_such_setting: "1" };
    await expect(
      startEmbeddedPostgres({ dataDir, persistent: false, settings }),
    ).rejects.toMatchObject({
      id: "embedded_postgres_failed",
      message: expect.stringContaining("no_such_setting"),
    });
    expect(fs.existsSync(dataDir)).toBe(false);
  });

  it("gives up when the signal is aborted", async () => {
    const dataDir = path.join(folder, "aborted");
    const signal = AbortSignal.abort(new Error("never mind"));
    await expect(
      startEmbeddedPostgres({ dataDir, persistent: false, signal }),
    ).rejects.toMatchObject({ id: "embedded_postgres_failed" });
    expect(fs.existsSync(dataDir)).toBe(false);
  });

  it("offers --memory and DATABASE_URL where the optional package is missing", () => {
    const copy = path.join(folder, "uninstalled");
    for (const name of ["clock.js", "errors.js", "history/postgres"]) {
      fs.cpSync(path.join("dist", name), path.join(copy, name), { recursive: true });
    }
    fs.writeFileSync(path.join(copy, "package.json"), '{"type":"module"}');
    fs.writeFileSync(
      path.join(copy, "try.mjs"),
      `import { startEmbeddedPostgres } from "./history/postgres/embedded.js";
       await startEmbeddedPostgres({ dataDir: "data", persistent: false })
         .catch((error) => console.log(error.id, error.hint));`,
    );
    expect(execFileSync(process.execPath, ["try.mjs"], { cwd: copy, encoding: "utf8" })).toMatch(
      /^embedded_postgres_missing .*--memory.*DATABASE_URL/,
    );
  });
});
