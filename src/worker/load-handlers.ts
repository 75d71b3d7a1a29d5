import { readdir } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { checkName, type Handler } from "./handler.js";

/**
 * One handler, as a module gives it: the default export, an item of an array there, or a named
 * export.
 */
export interface HandlerModule<Payload = unknown, Result = unknown> {
  readonly type: string;
  /** Default: the queues of the worker. */
  readonly queue?: string;
  readonly handle: Handler<Payload, Result>;
}

const extensions = new Set([".js", ".mjs", ".ts"]);

/**
 * Loads every .js, .mjs and .ts module of a directory, in the order of their names; declarations
 * and tests are passed over. Throws a TypeError that names the file when one cannot be loaded,
 * gives no handler, or gives a malformed one.
 */
export async function loadHandlers(directory: string): Promise<readonly HandlerModule[]> {
  const root = resolve(directory);
  const names = await readdir(root).catch((error: unknown) => {
    throw new TypeError(`handlers: expected a directory that can be read, got ${root}`, {
      cause: error,
    });
  });
  const files = names.filter(isModule).sort();
  if (files.length === 0) {
    throw new TypeError(`handlers: expected .js, .mjs or .ts modules in ${root}, found none`);
  }
  const loaded: HandlerModule[] = [];
  const owners = new Map<string, string>();
  for (const name of files) {
    const file = join(root, name);
    for (const entry of await handlersOf(file)) {
      const key = `${entry.queue ?? ""} ${entry.type}`;
      const owner = owners.get(key);
      if (owner) {
        const one = `${file}: expected one handler for type ${entry.type}`;
        throw new TypeError(`${one}, found another in ${owner}`);
      }
      owners.set(key, file);
      loaded.push(entry);
    }
  }
  return loaded;
}

function isModule(name: string): boolean {
  return extensions.has(extname(name)) && !/\.(?:d|test|spec)\.[a-z]+$/.test(name);
}

async function handlersOf(file: string): Promise<HandlerModule[]> {
  const module = await load(file);
  const found: HandlerModule[] = [];
  for (const [name, value] of Object.entries(module)) {
    if (name === "default") {
      const items: readonly unknown[] = Array.isArray(value) ? value : [value];
      for (const item of items) found.push(checked(item, file, "the default export"));
    } else if (looksLikeHandler(value)) {
      found.push(checked(value, file, `the export ${name}`));
    }
  }
  if (found.length > 0) return [...new Set(found)];
  throw new TypeError(
    `${file}: expected a default export { type, handle }, an array of such, or named exports of ` +
      `them; found ${Object.keys(module).join(", ") || "no exports"}`,
  );
}

async function load(file: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const hint =
      extname(file) === ".ts" ? " (Node 20 needs `--import tsx` to load TypeScript)" : "";
    throw new TypeError(`${file}: expected a module that loads, got: ${reason}${hint}`, {
      cause: error,
    });
  }
}

const looksLikeHandler = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "type" in value && "handle" in value;

function checked(value: unknown, file: string, where: string): HandlerModule {
  const { type, queue, handle } = Object(value) as Partial<HandlerModule>;
  if (typeof handle !== "function") {
    throw new TypeError(
      `${file}: ${where}: expected handle to be a function, got ${typeof handle}`,
    );
  }
  try {
    checkName("type", type);
    if (queue !== undefined) checkName("queue", queue);
  } catch (error) {
    throw new TypeError(`${file}: ${where}: ${(error as Error).message}`, { cause: error });
  }
  return value as HandlerModule;
}
