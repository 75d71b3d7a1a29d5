import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AdminService, QueueService, ScheduleService } from "../gen/drover/v1/admin_pb.js";
import { BatchService } from "../gen/drover/v1/batch_pb.js";
import { TaskService } from "../gen/drover/v1/task_pb.js";
import { startDevWorld, type DevWorld } from "../examples/dev-world.js";
import { httpStatus } from "../src/api/rest/errors.js";
import { compileRoutes } from "../src/api/rest/routes.js";
import { configKeys, explainConfig, loadConfig } from "../src/config.js";
import { catalog, Code, DroverError, type ErrorId } from "../src/errors.js";
import { createServer, type Server } from "../src/server.js";
import { createWorker, loadHandlers, type Worker } from "../src/worker/index.js";
import { DocRunner } from "./support/doc-runner.js";
import {
  anchorsOf,
  documents,
  linksOf,
  missing,
  rowsUnder,
  type Sample,
  samplesOf,
  targetOf,
} from "./support/doc-samples.js";
import { freshPrefix, freshSchema, sharedPostgres, sharedRedis } from "./support/stores.js";

const all = documents().flatMap((doc) => samplesOf(doc));
const named = ({ doc, line }: Sample): string => `${doc}:${line}`;
/** Blocks that run, and those that only show something. */
const running = new Set(["sh", "ts", "js", "yaml"]);
const showing = new Set(["", "text", "json", "protobuf", "python"]);
const noRunsMax = 6;

describe("the samples of the documents", () => {
  it("are of languages that this test knows", () => {
    const odd = all.filter(({ language }) => !running.has(language) && !showing.has(language));
    expect(odd.map(named)).toEqual([]);
  });

  it("run, but for a few that say why not", () => {
    const not = all.filter(({ directives }) => "norun" in directives);
    expect(not.filter(({ directives }) => directives["norun"]!.length < 10).map(named)).toEqual([]);
    expect(not.length).toBeLessThanOrEqual(noRunsMax);
  });

  it("are well typed", async () => {
    const typed = all.filter((sample) => sample.language === "ts" && runs(sample));
    const dir = mkdtempSync(path.join(tmpdir(), `drover-test-${process.pid}-types-`));
    const config = {
      extends: path.resolve("tsconfig.json"),
      compilerOptions: { rootDir: "/", typeRoots: [path.resolve("node_modules/@types")] },
      include: ["**/*.ts"],
    };
    writeFileSync(path.join(dir, "tsconfig.json"), JSON.stringify(config));
    writeFileSync(path.join(dir, "package.json"), '{"type":"module"}');
    for (const { doc, line, code, directives } of typed) {
      const name = directives["file"] ?? `${doc.replaceAll("/", "-")}-${line}.ts`;
      const text = `${directives["before"] ?? ""}\n${code}\nexport {};\n`;
      writeFileSync(path.join(dir, name), text);
    }
    const check = promisify(execFile)(path.resolve("node_modules/.bin/tsc"), ["-p", dir]);
    const errors = await check.then(
      () => "",
      (error: unknown) => (error as { stdout: string }).stdout,
    );
    rmSync(dir, { recursive: true });
    expect(errors).toBe("");
  }, 60_000);
});

const runs = ({ language, directives }: Sample): boolean =>
  running.has(language) && !("norun" in directives);

describe("running the samples", () => {
  let server: Server;
  let world: DevWorld;
  let worker: Worker;
  let dir: string;

  beforeAll(async () => {
    dir = mkdtempSync(path.join(tmpdir(), `drover-test-${process.pid}-samples-`));
    world = await startDevWorld({ dataDir: dir });
    Object.assign(process.env, world.env);
    const memory = { broker: "memory", history: "memory", log_level: "silent" };
    const flags = { ...memory, http_port: 0, grpc_port: 0 };
    server = createServer(loadConfig({ env: {}, flags }));
    await server.start();
    const address = `127.0.0.1:${server.grpcPort}`;
    worker = createWorker({ address, workerId: "sample-worker" });
    for (const { type, handle } of await loadHandlers("examples/handlers")) {
      worker.handle(type, handle);
    }
    await worker.start();
  });

  afterAll(async () => {
    await worker.stop({ graceMs: 0 });
    await server.stop("the end of the test");
    await world.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  async function storeEnv(): Promise<Record<string, string>> {
    return {
      REDIS_URL: (await sharedRedis()).url,
      DROVER_REDIS_PREFIX: freshPrefix(),
      DATABASE_URL: (await sharedPostgres()).url,
      DROVER_DATABASE_SCHEMA: freshSchema(),
      PORT: "0",
      GRPC_PORT: "0",
    };
  }

  describe.each(documents())("of %s", (doc) => {
    const samples = all.filter((sample) => sample.doc === doc);
    let runner: DocRunner;

    beforeAll(() => {
      const httpAddress = `127.0.0.1:${server.httpPort}`;
      const grpcAddress = `127.0.0.1:${server.grpcPort}`;
      runner = new DocRunner({ httpAddress, grpcAddress, storeEnv });
    });

    it("ends what it started in order", async () => {
      for (const sample of samples) await tryOut(sample, runner);
      await runner.stop();
    }, 180_000);
  });
});

/** Runs a sample, or compares an answer shown with the one that came. */
async function tryOut(sample: Sample, runner: DocRunner): Promise<void> {
  const where = named(sample);
  try {
    if ("norun" in sample.directives) return;
    if (sample.language === "json") {
      const shown: unknown = JSON.parse(sample.code);
      const lacks = runner.answers.map((answer) => missing(shown, answer));
      const best = lacks.sort((a, b) => a.length - b.length)[0] ?? ["no answer came before it"];
      expect(best, where).toEqual([]);
    } else if (sample.language === "yaml") {
      loadConfig({ file: runner.keep(sample), env: {}, flags: {} });
    } else if (running.has(sample.language)) {
      const { statuses } = await runner.run(sample);
      const expected = sample.directives["answers"]?.split(" ").map(Number);
      expect(statuses, where).toEqual(expected ?? statuses.map((one) => (one < 400 ? one : 200)));
    }
  } catch (error) {
    throw new Error(`${where}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

const byText = <T>(items: readonly T[]): T[] =>
  items.toSorted((a, b) => String(a).localeCompare(String(b)));

describe("the documents", () => {
  it("link to what is there", () => {
    const broken = documents()
      .flatMap((doc) => linksOf(doc))
      .filter((link) => {
        const { file, anchor } = targetOf(link);
        if (!existsSync(file)) return true;
        return anchor !== "" && !anchorsOf(readFileSync(file, "utf8")).includes(anchor);
      });
    expect(broken).toEqual([]);
  });

  it("name tests and sources that are there", () => {
    const gone = documents().flatMap((doc) => {
      const text = readFileSync(doc, "utf8");
      const paths = text.matchAll(/`((?:test|src|proto|deploy)\/[\w./-]+)`/g);
      return [...paths].filter(([, file]) => !existsSync(file!)).map(([, file]) => [doc, file]);
    });
    expect(gone).toEqual([]);
  });

  it("name every error with its codes, and no other", () => {
    const codes = new Map(
      Object.entries(Code).map(([name, code]) => [
        code,
        name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase(),
      ]),
    );
    const expected = Object.keys(catalog).map((id) => {
      const error = new DroverError(id as ErrorId, "");
      return [id, codes.get(error.code), String(httpStatus(error))];
    });
    const shown = rowsUnder("docs/contract.md", "Errors").map((cells) => cells.slice(0, 3));
    expect(byText(shown)).toEqual(byText(expected));
  });

  it("name every REST route, and no other", () => {
    const services = [TaskService, QueueService, ScheduleService, BatchService, AdminService];
    const expected = services
      .flatMap((service) => compileRoutes(service))
      .map(({ verb, template }) => `${verb} ${template}`);
    const probes = ["GET /openapi.json", "GET /metrics", "GET /health", "GET /ready"];
    const byHand = ["POST /task", ...probes];
    const shown = rowsUnder("docs/rest.md", "Routes").map(([route]) => route);
    expect(byText(shown)).toEqual(byText([...expected, ...byHand]));
  });

  it("name every setting with its default, and no other; so does deploy/drover.yaml", () => {
    const settings = explainConfig({ env: {}, flags: {} });
    const defaults = Object.fromEntries(settings.map(({ key, value }) => [key, value]));
    const rows = rowsUnder("docs/configuration.md", "Settings");
    expect(Object.fromEntries(rows.map(([key, value]) => [key, value]))).toEqual(
      Object.fromEntries(configKeys.map((key) => [key, String(defaults[key])])),
    );
    expect(parse(readFileSync("deploy/drover.yaml", "utf8"))).toEqual(defaults);
  });
});

describe("the rules bite", () => {
  const real = { id: "0-1", status: "completed", tasks: [{ n: 1, error: null }] };

  it.each([
    [{ status: "failed" }, 1],
    [{ state: "completed" }, 1],
    [{ tasks: [{ n: "1" }] }, 1],
    [{ tasks: [{ error: "boom" }] }, 1],
    [{ status: "completed", tasks: [{ n: 7 }] }, 0],
    [{ tasks: [] }, 0],
  ])("an answer shown as %j lacks %i of a real one", (shown, lacks) => {
    expect(missing(shown, real)).toHaveLength(lacks);
  });

  it("comments right before a fence are about it, others are not", () => {
    const far = "<!-- norun: too long a story -->\n\nWords.\n\n```sh\na\n```\n";
    const text = `${far}<!-- file: x -->\n\`\`\`ts\nb\n\`\`\`\n`;
    expect(samplesOf("x.md", text)).toMatchObject([
      { line: 6, language: "sh", code: "a", directives: {} },
      { line: 10, language: "ts", code: "b", directives: { file: "x" } },
    ]);
  });
});
