import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { DroverError } from "./errors.js";
import { readEnvironment, strayVariables, withRedisPassword } from "./settings/environment.js";
import { nearest } from "./nearest.js";
import { joinRedisUrls, redisUrlsOf, redisUrlsTrouble } from "./settings/redis-urls.js";

export { redisUrlsOf } from "./settings/redis-urls.js";

const port = z.number().int().min(0).max(65_535);

/**
 * Settings of a coordinator: defaults, then the file, then the environment, then flags; the last
 * one given wins. Unknown keys are refused. deploy/drover.yaml documents each.
 */
const schema = z.strictObject({
  /** Address both doors listen on. Anything but loopback is open to whoever reaches it. */
  host: z.string().min(1).default("127.0.0.1"),
  /** gRPC; 0 takes any free port. */
  grpc_port: port.default(50_051),
  /** Connect, gRPC-Web and REST; 0 takes any free port. */
  http_port: port.default(8_080),
  /** memory: tasks live in this process (drover dev). redis: in Redis or Valkey. */
  broker: z.enum(["redis", "memory"]).default("redis"),
  /** memory: gone with the process. postgres: kept. */
  history: z.enum(["postgres", "memory"]).default("postgres"),
  /**
   * One Redis, or nodes of one Redis Cluster separated by commas: any that answers tells of all.
   */
  redis_url: z
    .string()
    .superRefine((text, context) => {
      const message = redisUrlsTrouble(text);
      if (message !== undefined) context.addIssue({ code: "custom", message });
    })
    .default("redis://127.0.0.1:6379"),
  /** Begins every key, so that several Drovers can share one Redis. */
  redis_prefix: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, "1 to 64 of [A-Za-z0-9._-]")
    .default("drover"),
  database_url: z
    .string()
    .regex(/^postgres(ql)?:\/\//, "expected postgres://")
    .default("postgres://127.0.0.1:5432/postgres"),
  database_schema: z
    .string()
    .regex(/^[a-z_][a-z0-9_]{0,62}$/, "1 to 63 of [a-z0-9_]")
    .default("drover"),
  /**
   * Slices of the broker's keys: a power of two, fixed by the first start. 1 standalone; on a Redis
   * Cluster each is served by one node: 64.
   */
  partitions: z
    .number()
    .int()
    .min(1)
    .max(1_024)
    .refine((value) => (value & (value - 1)) === 0, "a power of two")
    .default(1),
  log_level: z.enum(["trace", "debug", "info", "warn", "error", "silent"]).default("info"),
  /** json for machines, pretty for people. */
  log_format: z.enum(["json", "pretty"]).default("json"),
});

export type Config = Readonly<z.output<typeof schema>>;
export type ConfigKey = keyof Config;
/** Settings as given somewhere, before they are judged. */
export type ConfigInput = Partial<Record<ConfigKey, unknown>>;

export const configKeys = Object.keys(schema.shape) as ConfigKey[];

const numeric = new Set<ConfigKey>(["grpc_port", "http_port", "partitions"]);

export interface ConfigSources {
  /** Path of a YAML file. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: ConfigInput;
  /** Replaces the defaults, e.g. for `drover dev`. */
  readonly defaults?: ConfigInput;
}

/** A setting, and where its value came from: defaults, the file, the environment or flags. */
export interface ExplainedSetting {
  readonly key: ConfigKey;
  /** Passwords in URLs are hidden. */
  readonly value: Config[ConfigKey];
  readonly from: string;
}

/** The effective settings, frozen. Throws config_invalid naming the setting and its origin. */
export const loadConfig = (sources: ConfigSources): Config => resolve(sources).config;

/** What looks like a setting in the environment and is none, each in a sentence. */
export const configWarnings = ({ env }: Pick<ConfigSources, "env">): string[] =>
  strayVariables(env, configKeys);

/** The effective settings for people, in the order of the schema. Throws what loadConfig throws. */
export function explainConfig(sources: ConfigSources): ExplainedSetting[] {
  const { config, origin } = resolve(sources);
  return configKeys.map((key) => ({
    key,
    value: key.endsWith("_url") ? withoutPasswords(key, String(config[key])) : config[key],
    from: origin.get(key) ?? "defaults",
  }));
}

const withoutPasswords = (key: ConfigKey, text: string): string =>
  key === "redis_url"
    ? joinRedisUrls(redisUrlsOf(text).map(withoutPassword))
    : withoutPassword(text);

function withoutPassword(text: string): string {
  try {
    const url = new URL(text);
    if (url.password !== "") url.password = "***";
    for (const name of ["password", "sslpassword"]) {
      if (url.searchParams.has(name)) url.searchParams.set(name, "***");
    }
    return url.href;
  } catch {
    return "(no URL; hidden)";
  }
}

interface Resolved {
  readonly config: Config;
  readonly origin: ReadonlyMap<string, string>;
}

interface Source {
  readonly from: string;
  readonly values: ConfigInput;
}

function resolve(sources: ConfigSources): Resolved {
  const { file, env, flags } = sources;
  const environment = readEnvironment(env, configKeys, numeric);
  const given: Source[] = [
    { from: "defaults", values: sources.defaults ?? {} },
    ...(file === undefined ? [] : [{ from: file, values: readConfigFile(file) }]),
    { from: "the environment", values: environment.values },
    { from: "flags", values: flags },
  ];
  const merged: ConfigInput = {};
  const origin = new Map<string, string>();
  for (const { from, values } of given) {
    for (const [key, value] of Object.entries(values)) {
      if (value === undefined) continue;
      merged[key as ConfigKey] = value;
      origin.set(key, from);
    }
  }
  const parsed = schema.safeParse(merged);
  if (!parsed.success) throw invalid(parsed.error.issues[0]!, merged, origin);
  const redisUrl = joinRedisUrls(
    redisUrlsOf(parsed.data.redis_url).map((url) => withRedisPassword(url, env.REDIS_PASSWORD)),
  );
  const config = Object.freeze({ ...parsed.data, redis_url: redisUrl });
  refuseContradictions(config, given);
  return { config, origin };
}

/** Settings that are fine one by one, but cannot both be meant. */
function refuseContradictions(config: Config, given: readonly Source[]): void {
  const refuse = (field: ConfigKey, message: string, hint: string): never => {
    throw new DroverError("config_invalid", message, { field, hint });
  };
  const { grpc_port: grpc, http_port: http } = config;
  if (grpc === http && grpc !== 0) {
    const message = `grpc_port and http_port are both ${grpc}: each door needs a port of its own`;
    refuse("grpc_port", message, "Change one; 0 takes any free port.");
  }
  if (config.broker === "redis" && config.history === "memory") {
    const message = "history: memory ends with this process, while broker: redis keeps its tasks";
    refuse("history", message, "Use history: postgres, or memory for both.");
  }
  const unused: readonly (readonly [ConfigKey, readonly ConfigKey[]])[] = [
    ["broker", ["redis_url", "redis_prefix"]],
    ["history", ["database_url", "database_schema"]],
  ];
  for (const { from, values } of given) {
    for (const [store, keys] of unused) {
      const key = keys.find((name) => values[name] !== undefined);
      if (config[store] !== "memory" || values[store] !== "memory" || !key) continue;
      refuse(key, `${from} says ${store}: memory and gives ${key}`, `Leave out one of the two.`);
    }
  }
}

function invalid(
  issue: z.core.$ZodIssue,
  merged: ConfigInput,
  origin: ReadonlyMap<string, string>,
): DroverError {
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const hint = `Known settings: ${configKeys.join(", ")}.`;
    const near = nearest(key, configKeys);
    const message = `unknown setting "${key}" in ${origin.get(key)}`;
    return new DroverError(
      "config_invalid",
      near ? `${message}; did you mean "${near}"?` : message,
      {
        field: key,
        hint,
      },
    );
  }
  const key = String(issue.path[0]);
  const shown = key.endsWith("_url") ? "the value given" : JSON.stringify(merged[key as ConfigKey]);
  const message = `${key}: ${issue.message}; got ${shown} from ${origin.get(key) ?? "defaults"}`;
  return new DroverError("config_invalid", message, { field: key });
}

function readConfigFile(file: string): ConfigInput {
  let parsed: unknown;
  try {
    parsed = parse(readFileSync(file, "utf8"));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new DroverError("config_invalid", `cannot read ${file}: ${reason}`, { cause });
  }
  if (parsed === null || parsed === undefined) return {};
  if (typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new DroverError("config_invalid", `${file}: expected settings as "key: value" lines`);
  }
  return parsed;
}

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");
