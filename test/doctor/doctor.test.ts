import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { partitionKey } from "../../src/broker/redis/keys.js";
import { showDoctor } from "../../src/cli/doctor.js";
import { Exit } from "../../src/cli/exit.js";
import { processParts } from "../../src/cli/parts.js";
import { createClient } from "../../src/client/index.js";
import { type Config, type ConfigInput, loadConfig } from "../../src/config.js";
import type { Check } from "../../src/doctor/check.js";
import { type DoctorReport, runDoctor } from "../../src/doctor/doctor.js";
import { runMigrate } from "../../src/migrate.js";
import { createServer } from "../../src/server.js";
import { createWorker } from "../../src/worker/index.js";
import { createDatabase } from "../../src/history/postgres/pool.js";
import { builtBin } from "../support/bin.js";
import { fakeTerminal, type FakeTerminal } from "../support/fake-terminal.js";
import {
  freshPrefix,
  freshSchema,
  type OwnServer,
  ownPostgres,
  ownRedis,
} from "../support/stores.js";

const sound = { fsync: "on", full_page_writes: "on", synchronous_commit: "on" };
let redisServer: OwnServer;
let postgres: OwnServer;
let redis: Redis;

beforeAll(async () => {
  [redisServer, postgres] = await Promise.all([
    ownRedis({ appendonly: true }),
    ownPostgres({ settings: sound }),
  ]);
  redis = new Redis(redisServer.url);
  redis.on("error", () => undefined);
});
afterAll(() => redis.disconnect());

const settings = (more: ConfigInput = {}): Config =>
  loadConfig({
    env: {},
    flags: {
      redis_url: redisServer.url,
      database_url: postgres.url,
      redis_prefix: freshPrefix(),
      database_schema: freshSchema(),
      grpc_port: 0,
      http_port: 0,
      log_level: "silent",
      ...more,
    },
  });

const checkOf = (report: DoctorReport, subject: string, name: string): Check | undefined =>
  report.checks.find((check) => check.subject === subject && check.name === name);

const troubles = (report: DoctorReport): string[] =>
  report.checks
    .filter(({ level }) => level !== "ok")
    .map(({ subject, name, level }) => `${level} ${subject} ${name}`);

function shown(report: DoctorReport, json = false): FakeTerminal {
  const terminal = fakeTerminal();
  showDoctor(report, { json }, { ...processParts(), terminal });
  return terminal;
}

/** A coordinator that has taken some tasks of each waiting kind, and is gone. */
async function filled(config: Config): Promise<void> {
  const server = createServer(config);
  await server.start();
  const client = createClient({ address: `127.0.0.1:${server.grpcPort}` });
  for (let n = 0; n < 3; n += 1) {
    await client.submit("pack", { n }, { queue: "parcels" });
    await client.submit("pack", { n }, { queue: "parcels", delayMs: 3_600_000 });
  }
  await client.close();
  await server.stop("the end of the filling");
}

describe("a sound world", () => {
  it("is found all well before the first coordinator, once the schema is made", async () => {
    const config = settings();
    await runMigrate(config);
    const report = await runDoctor(config);
    expect(troubles(report)).toEqual([]);
    expect(report.verdict).toBe("ok");
    expect(shown(report).code).toBe(Exit.ok);
    expect(checkOf(report, "partitions", "open")?.says).toContain("not opened yet");
  });

  it("is found all well while a coordinator works, with its tasks by status", async () => {
    const config = settings({ partitions: 2 });
    await filled(config);
    const server = createServer(config);
    await server.start();
    try {
      await opened(config);
      const report = await runDoctor(config);
      expect(troubles(report).filter((trouble) => trouble !== "warn work workers")).toEqual([]);
      expect(report.verdict).toBe("ok");
      expect(checkOf(report, "work", "tasks")?.says).toBe(
        "3 pending, 3 scheduled; live in Postgres: 6",
      );
      expect(checkOf(report, "work", "coordinators")?.says).toMatch(/^[12] said so/);
      expect(checkOf(report, "partitions", "open")?.says).toBe("2 of 2 open");
      expect(checkOf(report, "structures", "keys")?.says).toMatch(/^\d+ looked at, all$/);
    } finally {
      await server.stop("the end of the test");
    }
  });
});

describe("a world at work", () => {
  it("is never blamed for what moves while it is looked at", async () => {
    const config = settings();
    const server = createServer(config);
    await server.start();
    const address = `127.0.0.1:${server.grpcPort}`;
    const quiet = { debug() {}, info() {}, warn() {}, error() {} };
    const worker = createWorker({ address, concurrency: 20, logger: quiet });
    let done = 0;
    let manyDone = (): void => undefined;
    const many = new Promise<void>((resolve) => (manyDone = resolve));
    worker.handle("pack", () => {
      done += 1;
      if (done === 100) manyDone();
      return Promise.resolve();
    });
    await worker.start();
    const client = createClient({ address });
    let looking = true;
    const load = (async () => {
      while (looking) {
        const some = Array.from({ length: 20 }, (_, n) =>
          client.submit("pack", "x".repeat(n % 2 === 0 ? 10 : 2_000), { groupKey: `g${n % 3}` }),
        );
        await Promise.all(some);
      }
    })();
    try {
      await many;
      for (let look = 0; look < 5; look += 1) {
        const report = await runDoctor(config, { full: true });
        expect(report.checks.filter(({ subject }) => subject === "structures")).toMatchObject([
          { name: "counts", level: "ok" },
          { name: "keys", level: "ok" },
        ]);
        expect(checkOf(report, "work", "workers")?.says).toBe("1 sessions live");
      }
      expect(done, "tasks went on while it looked").toBeGreaterThan(200);
    } finally {
      looking = false;
      await load;
      await client.close();
      await worker.stop({ graceMs: 2_000 });
      await server.stop("the end of the test");
    }
  });
});

describe("settings that break promises", () => {
  let config: Config;
  beforeEach(async () => {
    config = settings();
    await runMigrate(config);
  });

  it("a Redis that evicts breaks P12", async () => {
    await redis.config("SET", "maxmemory-policy", "allkeys-lru");
    try {
      const report = await runDoctor(config);
      expect(checkOf(report, "redis", "maxmemory-policy")).toMatchObject({
        level: "fail",
        says: expect.stringContaining("allkeys-lru") as string,
        mend: expect.stringContaining("noeviction") as string,
        breaks: "P12",
      });
      const { lines, code } = shown(report);
      expect(code).toBe(Exit.notCompleted);
      expect(lines.some((line) => /^FAIL {2}redis maxmemory-policy .*P12/.test(line))).toBe(true);
    } finally {
      await redis.config("SET", "maxmemory-policy", "noeviction");
    }
  });

  it("a Redis without AOF is a warning, and breaks P1 once a queue is RELAXED", async () => {
    await redis.config("SET", "appendonly", "no");
    try {
      const before = await runDoctor(config);
      expect(before.verdict).toBe("ok");
      expect(checkOf(before, "redis", "appendonly")).toMatchObject({ level: "warn" });
      await query(
        config,
        "INSERT INTO queues (namespace, name, durability) " +
          "VALUES ('default', 'quick', 'relaxed')",
      );
      const after = await runDoctor(config);
      expect(checkOf(after, "redis", "appendonly")).toMatchObject({ level: "warn", breaks: "P1" });
      expect(after.verdict).toBe("broken");
    } finally {
      await redis.config("SET", "appendonly", "yes");
    }
  });

  it("a nearly full Redis is a warning, a full one a failure", async () => {
    const used = Number(/^used_memory:(\d+)/m.exec(await redis.info("memory"))![1]);
    try {
      await redis.config("SET", "maxmemory", String(Math.round(used * 1.1)));
      expect(checkOf(await runDoctor(config), "redis", "memory")?.level).toBe("warn");
      await redis.config("SET", "maxmemory", String(Math.round(used / 2)));
      expect(checkOf(await runDoctor(config), "redis", "memory")?.level).toBe("fail");
    } finally {
      await redis.config("SET", "maxmemory", "0");
    }
  });

  it("a Postgres that answers before it has written breaks P1", async () => {
    const user = new URL(postgres.url).username || "postgres";
    await query(config, `ALTER ROLE "${user}" SET synchronous_commit = off`);
    try {
      const report = await runDoctor(config);
      expect(checkOf(report, "postgres", "synchronous_commit")).toMatchObject({
        level: "fail",
        breaks: "P1",
      });
      expect(report.verdict).toBe("broken");
    } finally {
      await query(config, `ALTER ROLE "${user}" RESET synchronous_commit`);
    }
  });

  it("another partition count than the database's is told", async () => {
    await query(config, "INSERT INTO settings (name, value) VALUES ('partitions', 8)");
    const report = await runDoctor(config);
    expect(checkOf(report, "postgres", "partition count")).toMatchObject({
      level: "fail",
      mend: "Set partitions: 8.",
    });
  });

  it("commits that never reached Redis are told, long ones break P1", async () => {
    const marker = (age: number) =>
      query(
        config,
        "INSERT INTO commit_markers (id, created_at, task_ids) " +
          `VALUES (gen_random_uuid(), now_ms() - ${age}, '{}')`,
      );
    await marker(20_000);
    expect((await runDoctor(config)).verdict).toBe("ok");
    await marker(90_000);
    const found = checkOf(await runDoctor(config), "postgres", "commit markers");
    expect(found).toMatchObject({ level: "fail", breaks: "P1" });
    expect(found?.says).toMatch(/^2 older than 10 s, the oldest 90 s/);
  });

  it("a missing day is a warning", async () => {
    await query(
      config,
      "DO $$ BEGIN EXECUTE format('DROP TABLE %I', " + "day_table('tasks', today() + 1)); END $$",
    );
    expect(checkOf(await runDoctor(config), "postgres", "days")).toMatchObject({ level: "warn" });
  });
});

describe("what Redis holds", () => {
  let config: Config;
  let base: string;
  beforeEach(async () => {
    config = settings();
    await filled(config);
    base = partitionKey(config.redis_prefix, 0);
  });

  it("a wrong count is found", async () => {
    const [counts] = await redis.keys(`${base}c:*`);
    await redis.hincrby(counts!, "1:2", 5);
    const report = await runDoctor(config);
    expect(checkOf(report, "structures", "counts")).toMatchObject({ level: "fail" });
    expect(checkOf(report, "structures", "counts")?.says).toContain(
      "queue default/parcels: 8 pending counted at priority 1, 3 stand",
    );
    expect(report.verdict).toBe("broken");
  });

  it("wrong counts of delayed and running tasks are found over all queues", async () => {
    const [counts] = await redis.keys(`${base}c:*`);
    await redis.hincrby(counts!, "1:1", -1);
    await redis.hincrby(counts!, "1:3", 1);
    const says = checkOf(await runDoctor(config), "structures", "counts")?.says;
    expect(says).toContain("2 delayed counted, 3 stand");
    expect(says).toContain("1 running counted, 0 stand");
  });

  it("orphaned keys are found, each by its name", async () => {
    await redis.set(Buffer.concat([Buffer.from(`${base}p:`), Buffer.alloc(16, 7)]), "payload");
    await redis.zadd(`${base}sh:nobody`, 1, Buffer.alloc(16, 8));
    await redis.set(`${base}stray`, "1");
    const says = checkOf(await runDoctor(config), "structures", "keys")?.says;
    expect(says).toContain("key p:07070707-0707-0707-0707-070707070707 belongs to nothing");
    expect(says).toContain('key "sh:nobody" belongs to nothing');
    expect(says).toContain("08080808-0808-0808-0808-080808080808 does not belong in");
    expect(says).toContain(`key "stray" is none of Drover's`);
  });

  it("a task that stands nowhere, one that stands twice, and a flow without reference", async () => {
    const [flow] = await redis.keys(`${base}W:*`);
    const [lost, twice] = await redis.zrangeBuffer(flow!, "0", "-1");
    await redis.zrem(flow!, lost!);
    await redis.zadd(`${base}d`, 1, twice!);
    const [lane] = await redis.keys(`${base}L:*`);
    await redis.zrem(lane!, "2u");
    const report = await runDoctor(config);
    const found = checkOf(report, "structures", "keys");
    expect(found).toMatchObject({ level: "fail", breaks: "P1" });
    expect(found?.says).toContain("is pending: expected [ready], found []");
    expect(found?.says).toContain("is pending: expected [ready], found [delayed,ready]");
    expect(found?.says).toMatch(/key "W:\d+:2u" belongs to nothing/);
  });

  it("a partition opened on another Redis is cold", async () => {
    await redis.hset(`${base}m`, "store", "another-one");
    const found = checkOf(await runDoctor(config), "partitions", "open");
    expect(found?.level).not.toBe("ok");
    expect(found?.says).toMatch(/^cold: 0: .*opened on the Redis another-/);
  });

  it("an epoch that Postgres never gave breaks P5", async () => {
    await redis.hset(`${base}m`, "epoch", "77");
    const found = checkOf(await runDoctor(config), "partitions", "epoch");
    expect(found).toMatchObject({ level: "fail", breaks: "P5" });
  });
});

describe("what does not answer", () => {
  it("a Redis that wants a password says so", async () => {
    const locked = await ownRedis({ args: ["--requirepass", "open-sesame"] });
    const report = await runDoctor(settings({ redis_url: locked.url }));
    expect(checkOf(report, "redis", "reachable")?.says).toMatch(/NOAUTH|password/);
    const address = locked.url.replace("redis://", "");
    const { redis_prefix, database_schema } = settings();
    const env = {
      REDIS_ADDR: address,
      REDIS_PASSWORD: "open-sesame",
      DATABASE_URL: postgres.url,
      DROVER_REDIS_PREFIX: redis_prefix,
      DROVER_DATABASE_SCHEMA: database_schema,
    };
    const opened = await runDoctor(loadConfig({ env, flags: {} }));
    expect(checkOf(opened, "redis", "version")?.level).toBe("ok");
  });

  it("a Postgres that is down; Redis is looked at all the same", async () => {
    const config = settings({ database_url: "postgres://127.0.0.1:1/none" });
    const report = await runDoctor(config);
    expect(checkOf(report, "postgres", "reachable")).toMatchObject({
      level: "fail",
      unreachable: true,
      says: expect.stringContaining("ECONNREFUSED") as string,
    });
    expect(checkOf(report, "redis", "version")?.level).toBe("ok");
    expect(shown(report).code).toBe(Exit.unavailable);
  });

  it("a Redis that is down; Postgres is looked at all the same", async () => {
    const config = settings({ redis_url: "redis://127.0.0.1:1" });
    await runMigrate(config);
    const report = await runDoctor(config);
    expect(checkOf(report, "redis", "reachable")?.says).toContain("ECONNREFUSED");
    expect(checkOf(report, "postgres", "schema")?.level).toBe("ok");
    expect(report.verdict).toBe("unreachable");
  });

  it("a pending migration is told, and --check of migrate says so too", async () => {
    const config = settings();
    expect((await runMigrate(config, { check: true })).pending).toContain("0001_history");
    const report = await runDoctor(config);
    expect(checkOf(report, "postgres", "schema")).toMatchObject({
      level: "fail",
      says: expect.stringContaining("0001_history") as string,
    });
    expect(report.verdict).toBe("broken");
    expect((await runMigrate(config)).applied).toContain("0001_history");
    expect(await runMigrate(config, { check: true })).toMatchObject({ pending: [], applied: [] });
  });

  it("says all of it in JSON", async () => {
    const report = await runDoctor(settings({ redis_url: "redis://127.0.0.1:1" }));
    const answer = JSON.parse(shown(report, true).lines.join("")) as Record<string, unknown>;
    expect(answer).toMatchObject({ verdict: "unreachable" });
    expect(answer["checks"]).toContainEqual({
      subject: "redis",
      name: "reachable",
      level: "fail",
      says: expect.any(String) as string,
      mend: expect.stringContaining("REDIS_URL") as string,
      breaks: "",
    });
  });

  it("is how the program ends", { timeout: 60_000 }, async () => {
    const schema = freshSchema();
    const env = {
      PATH: process.env.PATH,
      REDIS_URL: redisServer.url,
      DATABASE_URL: postgres.url,
      DROVER_REDIS_PREFIX: freshPrefix(),
      DROVER_DATABASE_SCHEMA: schema,
    };
    const bin = (...args: string[]) =>
      promisify(execFile)(process.execPath, [builtBin, ...args], { env });
    await expect(bin("migrate", "--check")).rejects.toMatchObject({
      code: Exit.notCompleted,
      stdout: expect.stringContaining("pending\t0001_history\n") as string,
    });
    expect((await bin("migrate")).stdout).toContain("applied\t0001_history\n");
    expect((await bin("migrate", "--check")).stdout).toBe(`schema ${schema} is up to date\n`);
    const { stdout } = await bin("doctor");
    expect(stdout).toMatch(/^ok {4}postgres version +Postgres \d/m);
    expect(stdout).toMatch(/^ok {4}redis maxmemory-policy +noeviction$/m);
  });

  it("memory alone leaves nothing to look at", async () => {
    const flags = { broker: "memory", history: "memory" };
    const config = loadConfig({ env: {}, flags });
    await expect(runDoctor(config)).rejects.toMatchObject({ id: "config_invalid" });
    await expect(runMigrate(config)).rejects.toMatchObject({ id: "config_invalid" });
  });
});

/** Partitions open one after the other once a coordinator has started. */
const opened = (config: Config): Promise<void> =>
  vi.waitFor(
    async () => {
      for (let partition = 0; partition < config.partitions; partition += 1) {
        const base = partitionKey(config.redis_prefix, partition);
        expect(await redis.hget(`${base}m`, "store")).toBeTruthy();
      }
    },
    { timeout: 20_000 },
  );

async function query({ database_schema: schema }: Config, text: string): Promise<void> {
  const database = createDatabase({ url: postgres.url, schema });
  try {
    await database.rows({ name: "", text });
  } finally {
    await database.stop();
  }
}
