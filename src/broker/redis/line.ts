import type { Socket } from "node:net";
import type { Clock, Timer } from "../../clock.js";
import { DroverError } from "../../errors.js";
import { type Argument, packCall } from "./call.js";
import { type RawReply, ReplyError, ReplyReader } from "./reply-reader.js";

/** A command that Redis has not answered yet. */
interface Call {
  /** Monotonic ms: answered by then, or given up. */
  readonly endAt: number;
  resolve(reply: RawReply): void;
  reject(error: unknown): void;
}

/**
 * The commands of one connection and their answers, straight on the socket that ioredis has dialed
 * and greeted: its layers cost a lone command more than the network does. Dialing, TLS, logging in
 * and dialing again stay with it. When an answer is overdue the socket is destroyed, as later ones
 * would be too. One timer for all: nearly every answer comes long before it.
 */
export class Line {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #reader = new ReplyReader();
  /** In the order sent, which is that of their answers and of their ends. */
  readonly #waiting: Call[] = [];
  #timer: Timer | undefined;

  /** Takes the socket over; nothing must be under way on it. `ms`: for one answer. */
  constructor(socket: Socket, clock: Clock, ms: number) {
    this.#socket = socket;
    this.#clock = clock;
    this.#ms = ms;
    socket.removeAllListeners("data");
    socket.on("data", (chunk) => this.#read(chunk));
    socket.once("close", () => this.#closed());
  }

  /** Rejects with what Redis said, in the words of the catalog; see `translate`. */
  send(name: string, args: readonly Argument[], storeId: string): Promise<unknown> {
    if (!this.#socket.writable) return Promise.reject(unavailable("the connection is closed"));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ endAt: this.#clock.monotonic() + this.#ms, resolve, reject });
      this.#timer ??= this.#clock.after(this.#ms, () => this.#look());
      this.#socket.write(packCall(name, args, storeId));
    });
  }

  /** Call when the connection is given up, which rejects what waits. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #read(chunk: Buffer): void {
    try {
      this.#reader.take(chunk, (reply) => this.#answered(reply));
    } catch {
      // What comes behind it cannot be told apart any more.
      this.#socket.destroy();
    }
  }

  #answered(reply: RawReply): void {
    const call = this.#waiting.shift();
    if (!call) throw new Error("Redis answers what it was not asked");
    if (reply instanceof ReplyError) call.reject(translate(reply));
    else call.resolve(reply);
  }

  #closed(): void {
    this.stop();
    for (const call of this.#waiting.splice(0)) call.reject(unavailable("connection lost"));
  }

  #look(): void {
    this.#timer = undefined;
    const [oldest] = this.#waiting;
    if (!oldest) return;
    const left = oldest.endAt - this.#clock.monotonic();
    if (left > 0) {
      this.#timer = this.#clock.after(left, () => this.#look());
      return;
    }
    const late = unavailable(`no answer in ${this.#ms} ms`);
    for (const call of this.#waiting.splice(0)) call.reject(late);
    this.#socket.destroy();
  }
}

export function unavailable(why: string, cause?: unknown): DroverError {
  return new DroverError("broker_unavailable", `Redis did not answer: ${why}`, {
    retryAfterMs: 1_000,
    cause,
  });
}

const transient = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|BUSY|UNKILLABLE)\b/;

/**
 * What Redis said, in the words of the catalog. That it has forgotten a script is left as it is:
 * the caller mends it.
 */
export function translate(error: unknown): unknown {
  if (!(error instanceof Error) || error.name !== "ReplyError") {
    return unavailable(error instanceof Error ? error.message : "connection lost", error);
  }
  if (/^NOSCRIPT|Function not found/.test(error.message)) return error;
  if (error.message.startsWith("OOM")) {
    const full = "Redis has reached its maxmemory and takes no new tasks";
    return new DroverError("overloaded", full, { retryAfterMs: 1_000, cause: error });
  }
  if (transient.test(error.message)) return unavailable(error.message, error);
  return new DroverError("internal", "a broker script failed", { cause: error });
}
