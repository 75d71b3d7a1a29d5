import { DroverError } from "../errors.js";
import { nearest } from "../nearest.js";

export type Environment = Readonly<Record<string, string | undefined>>;

/** What the environment says of the settings. */
export interface EnvironmentSettings<Key extends string> {
  readonly values: Partial<Record<Key, string | number>>;
  /** The variable that each value came from. */
  readonly names: ReadonlyMap<Key, string>;
}

/** Names that people know, beside DROVER_<KEY> for every key. */
const wellKnown: Readonly<Record<string, string>> = {
  PORT: "http_port",
  GRPC_PORT: "grpc_port",
  REDIS_ADDR: "redis_url",
  REDIS_URL: "redis_url",
  DATABASE_URL: "database_url",
};

/** Read by others than the coordinator: clients and workers, the command line, Drover's tests. */
const ofOthers: readonly string[] = ["DROVER_ADDR", "DROVER_DEBUG", "DROVER_NO_SKIPS"];

/** Put there by Kubernetes for every service of a namespace, also for one called drover. */
const ofKubernetes = /^DROVER_(.+_)?(PORT(_\d+_(TCP|UDP).*)?|SERVICE_(HOST|PORT.*))$/;

const start = "DROVER_";
const variableOf = (key: string): string => start + key.toUpperCase();

/**
 * Values for the keys, numbers where `numeric` names them. Two variables that say different things
 * of one setting contradict each other: config_invalid. Empty ones count as unset.
 */
export function readEnvironment<Key extends string>(
  env: Environment,
  keys: readonly Key[],
  numeric: ReadonlySet<string>,
): EnvironmentSettings<Key> {
  const variables = { ...wellKnown };
  for (const key of keys) variables[variableOf(key)] = key;
  const values: Partial<Record<Key, string | number>> = {};
  const names = new Map<Key, string>();
  for (const [name, target] of Object.entries(variables)) {
    const text = env[name];
    if (text === undefined || text === "") continue;
    const key = target as Key;
    const value = valueOf(name, text, numeric.has(key));
    const other = names.get(key);
    if (other !== undefined && values[key] !== value) throw contradiction(key, other, name);
    values[key] = value;
    names.set(key, name);
  }
  return { values, names };
}

/** Variables that look like settings and are none, each in a sentence. */
export function strayVariables(env: Environment, keys: readonly string[]): string[] {
  const known = [...keys.map(variableOf), ...ofOthers];
  return Object.keys(env)
    .filter((name) => name.startsWith(start) && env[name] !== "")
    .filter((name) => !known.includes(name) && !ofKubernetes.test(name))
    .toSorted()
    .map((name) => {
      const near = nearest(
        name.slice(start.length),
        known.map((other) => other.slice(start.length)),
      );
      const meant = near === undefined ? "" : `; did you mean ${start}${near}?`;
      return `${name} in the environment is no setting of Drover and was ignored${meant}`;
    });
}

function contradiction(key: string, one: string, other: string): DroverError {
  const message = `${one} and ${other} are both set and contradict each other`;
  return new DroverError("config_invalid", message, { field: key, hint: "Unset one." });
}

function valueOf(name: string, text: string, isNumber: boolean): string | number {
  if (name === "REDIS_ADDR") return redisUrlOf(text);
  if (!isNumber) return text;
  const value = Number(text);
  if (Number.isInteger(value)) return value;
  const hint = text.startsWith("tcp://")
    ? "Kubernetes sets it for a service of that name; set enableServiceLinks: false in the pod."
    : undefined;
  throw new DroverError("config_invalid", `${name}: expected a whole number, got "${text}"`, {
    field: name,
    ...(hint === undefined ? {} : { hint }),
  });
}

const hostAndPort = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/;

function redisUrlOf(text: string): string {
  if (text.split(",").every((address) => hostAndPort.test(address.trim()))) {
    return `redis://${text}`;
  }
  throw new DroverError("config_invalid", "REDIS_ADDR: expected host:port", {
    field: "REDIS_ADDR",
    hint: "A URL, or one with user or password, goes into REDIS_URL.",
  });
}

/**
 * REDIS_PASSWORD belongs to whatever address of Redis is in force; one that stands in the URL
 * already may not differ.
 */
export function withRedisPassword(url: string, password: string | undefined): string {
  if (password === undefined || password === "") return url;
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    return url;
  }
  const given = decodeURIComponent(parsed.password);
  if (given !== "" && given !== password) {
    throw contradiction("redis_url", "REDIS_PASSWORD", "the password in redis_url");
  }
  return url.replace(/^(\w+:\/\/)(?:([^:@/]*)(?::[^@/]*)?@)?/, (_, scheme: string, user = "") => {
    return `${scheme}${user as string}:${encodeURIComponent(password)}@`;
  });
}
