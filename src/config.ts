import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";
import { DroverError } from "./errors.js";

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
  redis_url: z.string().default("redis://127.0.0.1:6379"),
  /** Begins every key, so that several Drovers can share one Redis. */
  redis_prefix: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, "1 to 64 of [A-Za-z0-9._-]")
    .default("drover"),
  database_url: z.string().default("postgres://127.0.0.1:5432/postgres"),
  database_schema: z
    .string()
    .regex(/^[a-z_][a-z0-9_]{0,62}$/, "1 to 63 of [a-z0-9_]")
    .default("drover"),
  /** Slices of the broker's keys: a power of two, fixed by the first start; 1 standalone. */
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

/** Names of the environment that people know, beside DROVER_<KEY> for every key. */
const environment: Record<string, ConfigKey> = {
  PORT: "http_port",
  GRPC_PORT: "grpc_port",
  REDIS_URL: "redis_url",
  DATABASE_URL: "database_url",
  ...Object.fromEntries(configKeys.map((key) => [`DROVER_${key.toUpperCase()}`, key])),
};

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

/** The effective settings for people, in the order of the schema. Throws what loadConfig throws. */
export function explainConfig(sources: ConfigSources): ExplainedSetting[] {
  const { config, origin } = resolve(sources);
  return configKeys.map((key) => ({
    key,
    value: key.endsWith("_url") ? withoutPassword(String(config[key])) : config[key],
    from: origin.get(key) ?? "defaults",
  }));
}

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

function resolve(sources: ConfigSources): Resolved {
  const given: { from: string; values: ConfigInput }[] = [
    { from: "defaults", values: sources.defaults ?? {} },
    ...(sources.file === undefined
      ? []
      : [{ from: sources.file, values: readConfigFile(sources.file) }]),
    { from: "the environment", values: fromEnvironment(sources.env) },
    { from: "flags", values: sources.flags },
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
  if (parsed.success) return { config: Object.freeze(parsed.data), origin };
  throw invalid(parsed.error.issues[0]!, merged, origin);
}

function invalid(
  issue: z.core.$ZodIssue,
  merged: ConfigInput,
  origin: ReadonlyMap<string, string>,
): DroverError {
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const hint = `Known settings: ${configKeys.join(", ")}.`;
    const near = nearest(key);
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

function fromEnvironment(env: ConfigSources["env"]): ConfigInput {
  const values: ConfigInput = {};
  for (const [name, key] of Object.entries(environment)) {
    const text = env[name];
    if (text === undefined || text === "") continue;
    values[key] = numeric.has(key) ? numberOf(name, text) : text;
  }
  if (env.REDIS_ADDR && !env.REDIS_URL) values.redis_url = redisUrlOf(env);
  if (env.REDIS_ADDR && env.REDIS_URL) {
    const message = "REDIS_ADDR and REDIS_URL are both set; they may contradict each other";
    throw new DroverError("config_invalid", message, { field: "redis_url", hint: "Unset one." });
  }
  return values;
}

function redisUrlOf(env: ConfigSources["env"]): string {
  const password = env.REDIS_PASSWORD ? `:${encodeURIComponent(env.REDIS_PASSWORD)}@` : "";
  return `redis://${password}${env.REDIS_ADDR}`;
}

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value)) return value;
  throw new DroverError("config_invalid", `${name}: expected a whole number, got "${text}"`, {
    field: name,
  });
}

/** The known key that shares the longest beginning, if it is a fair guess. */
function nearest(key: string): string | undefined {
  const shared = (other: string): number => {
    let length = 0;
    while (length < key.length && key[length] === other[length]) length += 1;
    return length;
  };
  const best = [...configKeys].sort((a, b) => shared(b) - shared(a))[0]!;
  return shared(best) >= 3 ? best : undefined;
}

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host.startsWith("127.");
