import { beforeAll, expect, it } from "vitest";
import { type Config, loadConfig } from "../../src/config.js";
import type { Check } from "../../src/doctor/check.js";
import { type DoctorReport, runDoctor } from "../../src/doctor/doctor.js";
import { runMigrate } from "../../src/migrate.js";
import { createClient } from "../../src/client/index.js";
import { createServer } from "../../src/server.js";
import { type OwnCluster, ownCluster } from "../support/cluster.js";
import { freshPrefix, freshSchema, sharedPostgres } from "../support/stores.js";

let cluster: OwnCluster;
let config: Config;

beforeAll(async () => {
  cluster = await ownCluster(3, true);
  const flags = {
    redis_url: cluster.urls[0],
    redis_prefix: freshPrefix(),
    database_url: (await sharedPostgres()).url,
    database_schema: freshSchema(),
    partitions: 16,
    grpc_port: 0,
    http_port: 0,
    log_level: "silent",
  };
  config = loadConfig({ env: {}, flags });
  await runMigrate(config);
});

const checksOf = (report: DoctorReport, subject: string, name: string): Check[] =>
  report.checks.filter((check) => check.subject === subject && check.name === name);

it("looks at every node of a Redis Cluster, and adds up what they hold", async () => {
  const server = createServer(config);
  let opened = 0;
  const allOpen = new Promise<void>((resolve) => {
    server.events.subscribe((name) => {
      if (name === "partition.rebuilt") opened += 1;
      if (opened === config.partitions) resolve();
    });
  });
  await server.start();
  await allOpen;
  const client = createClient({ address: `127.0.0.1:${server.grpcPort}` });
  for (let n = 0; n < 12; n += 1) await client.submit("pack", { n }, { queue: `queue-${n}` });
  await client.close();
  await server.stop("the end of the filling");

  const report = await runDoctor(config);
  const broken = report.checks.filter(
    ({ subject, level }) => subject !== "postgres" && level === "fail",
  );
  expect(broken).toEqual([]);
  expect(checksOf(report, "redis", "version")).toHaveLength(3);
  const [found] = checksOf(report, "redis", "cluster");
  expect(found).toMatchObject({ level: "ok", says: "3 nodes serve 16 of 16 partitions" });
  expect(checksOf(report, "partitions", "open")[0]!.says).toBe("16 of 16 open");
  expect(checksOf(report, "structures", "keys")[0]).toMatchObject({ level: "ok" });
  expect(checksOf(report, "work", "tasks")[0]!.says).toBe("12 pending; live in Postgres: 12");
  expect(checksOf(report, "clocks", `redis 127.0.0.1:${cluster.nodes[2]!.port}`)).toHaveLength(1);
});

it("warns where one node would do all the work", async () => {
  const one = { ...config, redis_url: cluster.urls[2]!, partitions: 1 };
  const report = await runDoctor({ ...one, database_schema: freshSchema() });
  const [found] = checksOf(report, "redis", "cluster");
  expect(found).toMatchObject({ level: "warn" });
  expect(found!.mend).toContain("64");
});

it("says which node is away and what one more would stop, and looks at the others all the same", async () => {
  await cluster.redises[0]!.config("SET", "cluster-require-full-coverage", "yes");
  const strict = await runDoctor(config);
  expect(checksOf(strict, "redis", "full coverage")[0]).toMatchObject({ level: "warn" });
  await cluster.redises[0]!.config("SET", "cluster-require-full-coverage", "no");
  await cluster.nodes[1]!.kill();
  const report = await runDoctor(config);
  expect(report.verdict).toBe("unreachable");
  const [silent] = checksOf(report, "redis", "reachable");
  expect(silent!.says).toContain(`127.0.0.1:${cluster.nodes[1]!.port}`);
  const [found] = checksOf(report, "redis", "cluster");
  expect(found).toMatchObject({ level: "fail" });
  expect(found!.says).toMatch(/^2 nodes serve \d+ of 16 partitions/);
  expect(checksOf(report, "structures", "keys")[0]).toMatchObject({ level: "ok" });
});
