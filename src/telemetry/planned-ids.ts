import { createHash } from "node:crypto";
import type { Random } from "../clock.js";

export interface Ids {
  /** Of a span that begins a trace. */
  readonly traceId?: string;
  readonly spanId: string;
}

type Step = "submit" | "wait" | "settle";

/**
 * The same on every coordinator, so that each can name the spans that others make of a task without
 * anything being carried around.
 */
export function spanIdOf(taskId: string, step: Step, attempt = 0): string {
  const digest = createHash("sha256").update(`${step} ${attempt} ${taskId}`).digest("hex");
  return digest.slice(0, 16);
}

/** Ids for the SDK's spans: those of a plan while one is made, else drawn. */
export class PlannedIds {
  readonly #random: Random;
  #plan: Ids | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  /** What `start` begins gets these ids. */
  use<T>(plan: Ids, start: () => T): T {
    this.#plan = plan;
    try {
      return start();
    } finally {
      this.#plan = undefined;
    }
  }

  readonly generateTraceId = (): string => this.#plan?.traceId ?? this.#draw(16);
  readonly generateSpanId = (): string => this.#plan?.spanId ?? this.#draw(8);

  #draw(length: number): string {
    for (;;) {
      const hex = Buffer.from(this.#random.bytes(length)).toString("hex");
      if (/[1-9a-f]/.test(hex)) return hex;
    }
  }
}
