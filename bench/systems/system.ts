/**
 * What a system under measurement gives: servers, and the two ends that run in processes of their
 * own. A peer is one more file beside this one, and its name in systems/index.ts.
 */

import type { Program } from "../foreign.js";

/** What an acknowledged submit survives: relaxed: as much as Redis with AOF everysec keeps. */
export type Durability = "relaxed" | "durable";

/** Exactly 100 bytes as JSON. It begins with when the producer was about to submit. */
export interface Payload {
  readonly p: string;
}

export interface ServerOptions {
  /** Folder for its data, deleted afterwards. */
  readonly dir: string;
  /** Folder for CPU profiles of its Node processes; none without. */
  readonly profile: string | undefined;
}

export interface Servers {
  /** Process by name; CPU is read of each and of its children. */
  readonly pids: Readonly<Record<string, number>>;
  /** For `produce` and `work`. */
  readonly env: Readonly<Record<string, string>>;
  /** Versions of what runs here. */
  readonly versions: Readonly<Record<string, string>>;
  /** Resolves when nothing is left to be done behind what was acknowledged. */
  settled(): Promise<void>;
  /** Bytes Redis uses for data: without buffers of clients and of the AOF. Undefined: no Redis. */
  redisBytes(): Promise<number | undefined>;
  /** Tasks that the system itself holds for completed, or undefined if it forgets them. */
  completed(durability: Durability): Promise<number | undefined>;
  /** Tasks that wait or run. */
  live(durability: Durability): Promise<number>;
  stop(): Promise<void>;
}

export interface Producer {
  /** Resolves when the task is acknowledged. */
  submit(payload: Payload): Promise<unknown>;
  /** Resolves when all are acknowledged. */
  submitBulk(payloads: readonly Payload[]): Promise<unknown>;
  close(): Promise<void>;
}

export interface WorkHooks {
  /** First line of the handler. */
  started(payload: Payload): void;
}

export interface Work {
  /** Tasks whose result is acked, of `started` ones that were reported. */
  acked(started: number): number;
  stop(): Promise<void>;
}

export interface WorkOptions {
  readonly durability: Durability;
  readonly concurrency: number;
}

/** Both ends in Node, by the system's own client. */
export interface NodeEnds {
  /** Runs in the producer's process. */
  produce(env: NodeJS.ProcessEnv, durability: Durability): Promise<Producer>;
  /** Runs in the worker's process; resolves when tasks may come. */
  work(env: NodeJS.ProcessEnv, options: WorkOptions, hooks: WorkHooks): Promise<Work>;
}

interface SystemBase {
  readonly name: string;
  /** The settings it is measured with, in words. */
  readonly settings: string;
  readonly durabilities: readonly Durability[];
  /** Part of the tasks that the figures of single submits take, where each is slow. Default 1. */
  readonly singleShare?: number;
  /** The same, of all other figures of throughput. Default 1. */
  readonly bulkShare?: number;
  /** Servers, ready. */
  serve(options: ServerOptions): Promise<Servers>;
}

/** In another language: one program is both ends. */
export interface ForeignEnds {
  /** Throws, and the peer is listed as absent, where it is not installed. */
  program(): Program;
}

export type System = SystemBase & (NodeEnds | ForeignEnds);
