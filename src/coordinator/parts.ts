import type { Broker } from "../broker/broker.js";
import type { Clock, Random } from "../clock.js";
import type { History } from "../history/history.js";
import type { Events, TraceCarrier } from "../telemetry/events.js";
import type { PayloadDecoder } from "../task/same-spec.js";
import type { Recorder } from "./recorder.js";

/** What every part of the coordinator is built from. */
export interface Parts {
  readonly coordinatorId: string;
  readonly broker: Broker;
  readonly history: History;
  readonly recorder: Recorder;
  readonly events: Events;
  /** Absent: traces are carried as they were given. */
  readonly carrier?: TraceCarrier | undefined;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Decodes a payload to compare it with another; only called when an idempotency key or request id
   * hits.
   */
  readonly decodePayload: PayloadDecoder;
}
