import type { Argument, Connection } from "./connection.js";
import { readScript, type Script, type SourceOptions } from "./lua-source.js";

export const scriptNames = [
  "announce",
  "announce_logs",
  "audit",
  "bury",
  "cancel",
  "delivered",
  "end_session",
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
 * Reads all scripts at once, loads them after every connect, and again when Redis has forgotten one
 * (SCRIPT FLUSH).
 */
export function createScripts(connection: Connection, options: SourceOptions): Scripts {
  const scripts = new Map(scriptNames.map((name) => [name, readScript(name, options)]));
  let loading: Promise<unknown> | undefined;

  function loadAll(): Promise<unknown> {
    loading ??= Promise.all(Array.from(scripts.values(), load)).finally(() => {
      loading = undefined;
    });
    return loading;
  }
  const load = (script: Script) => connection.send("SCRIPT", ["LOAD", script.source]);
  // A failure here shows again, and is mended, when the script is first used.
  connection.onReady(() => void loadAll().catch(() => undefined));

  return {
    async run(name, base, args) {
      const script = scripts.get(name)!;
      const all = [script.sha, "1", base, ...args];
      try {
        return await connection.send("EVALSHA", all);
      } catch (error) {
        if (!isForgotten(error)) throw error;
      }
      await loadAll();
      try {
        return await connection.send("EVALSHA", all);
      } catch (error) {
        if (!isForgotten(error)) throw error;
      }
      // Forgotten between two lines: the source itself cannot be.
      return connection.send("EVAL", [script.source, "1", base, ...args]);
    },
  };
}

const isForgotten = (error: unknown): boolean =>
  error instanceof Error && error.message.startsWith("NOSCRIPT");

/** Replies as scripts give them: nested lists of bulk strings, whole numbers and nulls. */
export type Reply = Buffer | number | null | readonly Reply[];

export const asList = (reply: unknown): readonly Reply[] => (Array.isArray(reply) ? reply : []);
export const asBytes = (reply: unknown): Buffer => reply as Buffer;
export const asText = (reply: unknown): string => String(reply);
export const asNumber = (reply: unknown): number => Number(String(reply));
