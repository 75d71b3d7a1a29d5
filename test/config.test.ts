import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import {
  configKeys,
  type ConfigSources,
  configWarnings,
  explainConfig,
  loadConfig,
  redisUrlsOf,
} from "../src/config.js";
import { DroverError } from "../src/errors.js";
import { parseAddresses } from "../src/transport/addresses.js";
import { resolveWorkerOptions } from "../src/worker/options.js";

const folder = mkdtempSync(path.join(tmpdir(), "drover-config-"));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const load = (given: Partial<ConfigSources> = {}) => loadConfig({ env: {}, flags: {}, ...given });

function fileOf(text: string): string {
  const file = path.join(folder, "drover.yaml");
  writeFileSync(file, text);
  return file;
}

function refusal(given: Partial<ConfigSources>): DroverError {
  try {
    load(given);
  } catch (error) {
    if (error instanceof DroverError) return error;
    throw error;
  }
  throw new Error("it was taken");
}

describe("where settings come from", () => {
  it("the file goes before defaults, the environment before the file, flags before all", () => {
    const file = fileOf("grpc_port: 1\nhttp_port: 2\nlog_level: debug\n");
    const env = { GRPC_PORT: "3", PORT: "4" };
    const settings = explainConfig({ file, env, flags: { http_port: 5 } });
    const of = (key: string) => settings.find((setting) => setting.key === key);
    expect(of("http_port")).toMatchObject({ value: 5, from: "flags" });
    expect(of("grpc_port")).toMatchObject({ value: 3, from: "the environment" });
    expect(of("log_level")).toMatchObject({ value: "debug", from: file });
    expect(of("log_format")).toMatchObject({ value: "json", from: "defaults" });
  });

  it("every key can be set by DROVER_<KEY>, and an empty variable counts as unset", () => {
    const env = { DROVER_REDIS_PREFIX: "cattle", DROVER_PARTITIONS: "64", DROVER_HOST: "" };
    expect(load({ env })).toMatchObject({
      redis_prefix: "cattle",
      partitions: 64,
      host: "127.0.0.1",
    });
  });

  it("REDIS_ADDR and REDIS_PASSWORD, REDIS_URL, DATABASE_URL, PORT and GRPC_PORT are known", () => {
    const env = {
      REDIS_ADDR: "cache:6380",
      REDIS_PASSWORD: "p@ss/word",
      DATABASE_URL: "postgresql://me:secret@db/drover",
      PORT: "0",
      GRPC_PORT: "0",
    };
    expect(load({ env })).toMatchObject({
      redis_url: "redis://:p%40ss%2Fword@cache:6380",
      database_url: "postgresql://me:secret@db/drover",
      http_port: 0,
      grpc_port: 0,
    });
    expect(load({ env: { REDIS_URL: "rediss://cache:1" } }).redis_url).toBe("rediss://cache:1");
    expect(load({ env: { REDIS_ADDR: "[::1]:6379" } }).redis_url).toBe("redis://[::1]:6379");
  });

  it.each([
    ["redis://a:1,redis://b:2", "redis://:s@a:1,redis://:s@b:2"],
    ["redis://me@a:1, b:2,c", "redis://me:s@a:1,redis://me:s@b:2,redis://me:s@c"],
    ["rediss://:s@a:1,[::1]:2", "rediss://:s@a:1,rediss://:s@[::1]:2"],
  ])("nodes of a Redis Cluster share scheme, user and password: %s", (url, expected) => {
    const env = { REDIS_URL: url, REDIS_PASSWORD: "s" };
    expect(load({ env }).redis_url).toBe(expected);
    expect(redisUrlsOf(load({ env }).redis_url)).toEqual(expected.split(","));
    const shown = explainConfig({ env, flags: {} }).find(({ key }) => key === "redis_url");
    expect(shown?.value).not.toContain(":s@");
    expect(shown?.value).toContain("***");
  });

  it("REDIS_ADDR may name several nodes, and a password may hold a comma", () => {
    const { redis_url: nodes } = load({ env: { REDIS_ADDR: "a:1,b:2" } });
    expect(nodes).toBe("redis://a:1,redis://b:2");
    expect(redisUrlsOf("redis://u:p,w@a:1,b:2")).toEqual([
      "redis://u:p,w@a:1",
      "redis://u:p,w@b:2",
    ]);
  });

  it.each([
    ["redis://cache:6379/2", "redis://:s@cache:6379/2"],
    ["redis://me@cache:6379", "redis://me:s@cache:6379"],
    ["redis://me:s@cache", "redis://me:s@cache"],
  ])("REDIS_PASSWORD belongs to %s too", (url, whole) => {
    expect(load({ env: { REDIS_URL: url, REDIS_PASSWORD: "s" } }).redis_url).toBe(whole);
  });

  it("passwords are shown to nobody", () => {
    const env = {
      REDIS_URL: "redis://cache",
      REDIS_PASSWORD: "hidden1",
      DATABASE_URL: "postgres://me:hidden2@db/drover?sslpassword=hidden3",
    };
    const shown = JSON.stringify(explainConfig({ env, flags: {} }));
    expect(shown).toContain("redis://:***@cache");
    expect(shown).toContain("me:***@db");
    expect(shown).not.toContain("hidden");
    const error = refusal({ env: { DATABASE_URL: "mysql://me:hidden@db" } });
    expect(error).toMatchObject({ id: "config_invalid", field: "database_url" });
    expect(error.message).toContain("expected postgres://");
    expect(error.message).not.toContain("hidden");
  });
});

describe("what is refused", () => {
  it.each([
    ["grpc_prot", "grpc_port"],
    ["redisurl", "redis_url"],
    ["databse_schema", "database_schema"],
    ["redis_address", "redis_url"],
  ])("an unknown key: %s means %s", (wrong, right) => {
    const file = fileOf(`${wrong}: 1\n`);
    const error = refusal({ file });
    expect(error.message).toBe(`unknown setting "${wrong}" in ${file}; did you mean "${right}"?`);
    expect(error.hint).toContain("Known settings: host, grpc_port");
  });

  it("an unknown key like no other is refused without a guess", () => {
    expect(refusal({ file: fileOf("zebra: 1\n") }).message).toMatch(/^unknown setting "zebra" in/);
  });

  it.each<[string, Partial<ConfigSources>]>([
    ["REDIS_ADDR and REDIS_URL", { env: { REDIS_ADDR: "a:1", REDIS_URL: "redis://b:1" } }],
    ["PORT and DROVER_HTTP_PORT", { env: { PORT: "1", DROVER_HTTP_PORT: "2" } }],
    [
      "REDIS_PASSWORD and the password",
      { env: { REDIS_URL: "redis://:one@a:1", REDIS_PASSWORD: "two" } },
    ],
    ["are both 8080", { env: { GRPC_PORT: "8080" } }],
    ["history: memory", { flags: { history: "memory" } }],
    [
      "flags says broker: memory and gives redis_prefix",
      { flags: { broker: "memory", redis_prefix: "x" } },
    ],
  ])("a contradiction: %s", (words, sources) => {
    const error = refusal(sources);
    expect(error.id).toBe("config_invalid");
    expect(error.message).toContain(words);
    expect(error.hint).not.toBe("");
  });

  it("two names that say the same are no contradiction, nor is one free port for each door", () => {
    expect(load({ env: { PORT: "80", DROVER_HTTP_PORT: "80" } }).http_port).toBe(80);
    expect(load({ env: { PORT: "0", GRPC_PORT: "0" } }).grpc_port).toBe(0);
  });

  it("what another source says of a store that is not used is no contradiction", () => {
    const env = { REDIS_URL: "redis://elsewhere", DATABASE_URL: "postgres://elsewhere/db" };
    const flags = { broker: "memory", history: "memory" };
    expect(load({ env, flags }).broker).toBe("memory");
  });

  it.each<[Record<string, string>, string]>([
    [{ PORT: "http" }, "PORT: expected a whole number"],
    [{ REDIS_ADDR: "redis://cache:6379" }, "REDIS_ADDR: expected host:port"],
    [{ DROVER_PARTITIONS: "3" }, "partitions: a power of two; got 3"],
    [{ REDIS_URL: "cache:6379" }, "redis_url: expected redis://"],
    [{ REDIS_URL: "redis://a:1,rediss://b:1" }, "share scheme, user and password"],
    [{ REDIS_URL: "redis://a:1/2,redis://b:1/2" }, "a Cluster has no databases"],
    [{ REDIS_URL: "redis://a:1,," }, "expected URLs, separated by commas"],
  ])("a value that cannot be: %j", (env, words) => {
    expect(refusal({ env }).message).toContain(words);
  });

  it("says what to do where Kubernetes has set a variable of the same name", () => {
    const error = refusal({ env: { DROVER_GRPC_PORT: "tcp://10.0.0.1:50051" } });
    expect(error.hint).toContain("enableServiceLinks");
  });
});

describe("strays in the environment", () => {
  it("are told with what was probably meant", () => {
    const env = {
      DROVER_GRPC_PROT: "1",
      DROVER_ZEBRA: "1",
      DROVER_HOST: "::1",
      DROVER_ADDR: "a:1",
    };
    expect(configWarnings({ env })).toEqual([
      expect.stringMatching(/^DROVER_GRPC_PROT .* did you mean DROVER_GRPC_PORT\?$/),
      expect.stringMatching(/^DROVER_ZEBRA .* was ignored$/),
    ]);
  });

  it("are not what Kubernetes sets for a service called drover", () => {
    const env = {
      DROVER_PORT: "tcp://10.0.0.1:80",
      DROVER_SERVICE_HOST: "10.0.0.1",
      DROVER_SERVICE_PORT_GRPC: "50051",
      DROVER_PORT_50051_TCP_ADDR: "10.0.0.1",
    };
    expect(configWarnings({ env })).toEqual([]);
  });
});

describe("what workers and clients read", () => {
  it("DROVER_ADDR is a comma list, localhost:50051 without it", () => {
    vi.stubEnv("DROVER_ADDR", "a:1, b:2");
    expect(parseAddresses(undefined)).toEqual(["a:1", "b:2"]);
    vi.stubEnv("DROVER_ADDR", undefined);
    expect(parseAddresses(undefined)).toEqual(["localhost:50051"]);
  });

  it("WORKER_ID and WORKER_CONCURRENCY; empty ones count as unset", () => {
    vi.stubEnv("WORKER_ID", "stall-7");
    vi.stubEnv("WORKER_CONCURRENCY", "3");
    expect(resolveWorkerOptions({})).toMatchObject({ workerId: "stall-7", concurrency: 3 });
    vi.stubEnv("WORKER_ID", "");
    vi.stubEnv("WORKER_CONCURRENCY", "");
    const settings = resolveWorkerOptions({});
    expect(settings.concurrency).toBe(10);
    expect(settings.workerId).toMatch(new RegExp(`-${process.pid}$`));
    vi.stubEnv("WORKER_CONCURRENCY", "many");
    expect(() => resolveWorkerOptions({})).toThrow("set WORKER_CONCURRENCY");
  });

  it("a worker never asks for the stores", () => {
    vi.stubEnv("REDIS_URL", "no url");
    vi.stubEnv("REDIS_ADDR", "no address");
    expect(() => resolveWorkerOptions({})).not.toThrow();
  });
});

describe("deploy/drover.yaml", () => {
  const text = readFileSync("deploy/drover.yaml", "utf8");

  it("holds exactly the settings there are, each with its default", () => {
    const documented = parse(text) as Record<string, unknown>;
    expect(documented).toEqual({ ...load() });
    expect(Object.keys(documented)).toEqual(configKeys);
  });

  it("says of each what it is for", () => {
    const lines = text.split("\n");
    for (const key of configKeys) {
      const at = lines.findIndex((line) => line.startsWith(`${key}:`));
      expect(lines[at - 1], key).toMatch(/^# \S/);
    }
  });
});
