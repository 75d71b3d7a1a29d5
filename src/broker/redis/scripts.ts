import { DroverError } from "../../errors.js";
import type { Argument, Connection } from "./connection.js";
import { type Library, readScript, type Script, type SourceOptions } from "./lua-source.js";
import { inTurns } from "./turns.js";

export const scriptNames = [
  "announce",
  "announce_logs",
  "audit",
  "bundled",
  "bury",
  "cancel",
  "checkpoint",
  "covered",
  "delivered",
  "end_session",
  "ended",
  "enqueue",
  "lease",
  "list_sessions",
  "open_session",
  "partition",
  "progress",
  "promote_now",
  "read_queue",
  "recorded",
  "renew_sessions",
  "replace",
  "set_queue",
  "settle",
  "sweep",
  "watch",
] as const;
export type ScriptName = (typeof scriptNames)[number];

export interface Scripts {
  /**
   * Runs a script on the partition whose keys start with `base`. Every script is one atomic step.
   */
  run(name: ScriptName, base: string, args: readonly Argument[]): Promise<unknown>;
}

/**
 * The scripts on one Redis. With a library they are loaded after every connect, and again when
 * Redis has forgotten them, as functions of it, which costs a call a fraction; where Redis takes no
 * library (an ACL, or maxmemory reached) they are scripts all the same, and `warn` is told why.
 */
export function createScripts(
  connection: Connection,
  options: SourceOptions,
  library?: Library,
  warn: (message: string) => void = () => undefined,
): Scripts {
  const plain = createPlainScripts(connection, options);
  return inTurns(library ? createFunctions(connection, library, plain, warn) : plain);
}

function createFunctions(
  connection: Connection,
  library: Library,
  plain: Scripts,
  warn: (message: string) => void,
): Scripts {
  let refused = false;
  let loading: Promise<void> | undefined;

  function load(): Promise<void> {
    loading ??= connection
      .send("FUNCTION", ["LOAD", library.source])
      .then(
        () => undefined,
        (error: unknown) => {
          if (isThere(error)) return;
          if (DroverError.from(error).id === "broker_unavailable") throw error;
          refused = true;
          warn(
            `Redis takes no library of functions (${reasonOf(error)}): scripts are sent instead, ` +
              "which take it about twice the CPU. Allow FUNCTION LOAD and FCALL.",
          );
        },
      )
      .finally(() => {
        loading = undefined;
      });
    return loading;
  }
  connection.onReady(() => {
    refused = false;
    // A failure here shows again, and is mended, when a function is first called.
    load().catch(() => undefined);
  });

  return {
    run(name, base, args) {
      if (refused) return plain.run(name, base, args);
      const all = [library.functionOf(name), "1", base, ...args];
      return connection.send("FCALL", all).catch(async (error: unknown) => {
        if (!isForgotten(error)) throw error;
        // Known meanwhile: the call was on its way when Redis refused.
        if (!refused) await load();
        if (refused) return plain.run(name, base, args);
        return connection.send("FCALL", all).catch((second: unknown) => {
          if (!isForgotten(second)) throw second;
          return plain.run(name, base, args);
        });
      });
    },
  };
}

function createPlainScripts(connection: Connection, options: SourceOptions): Scripts {
  const scripts = new Map<ScriptName, Script>();
  const scriptOf = (name: ScriptName): Script => {
    const known = scripts.get(name) ?? readScript(name, options);
    scripts.set(name, known);
    return known;
  };
  return {
    async run(name, base, args) {
      const { sha, source } = scriptOf(name);
      try {
        return await connection.send("EVALSHA", [sha, "1", base, ...args]);
      } catch (error) {
        if (!isForgotten(error)) throw error;
      }
      // Loads it as well.
      return connection.send("EVAL", [source, "1", base, ...args]);
    },
  };
}

const isForgotten = (error: unknown): boolean =>
  error instanceof Error && /^NOSCRIPT|Function not found/.test(error.message);

/** What Redis said to a library. */
const reasonOf = (error: unknown): string =>
  error instanceof Error ? String((error.cause as Error | undefined)?.message) : String(error);

/** Another coordinator has loaded it. */
const isThere = (error: unknown): boolean => /already exists/.test(reasonOf(error));

/** Replies as scripts give them: nested lists of bulk strings, whole numbers and nulls. */
export type Reply = Buffer | number | null | readonly Reply[];

export const asList = (reply: unknown): readonly Reply[] => (Array.isArray(reply) ? reply : []);
export const asBytes = (reply: unknown): Buffer => reply as Buffer;
export const asText = (reply: unknown): string => String(reply);
export const asNumber = (reply: unknown): number => Number(String(reply));
