import {
  GoAwayReason,
  ResultStatus,
  type Command as WireCommand,
  type Hello,
  type Lease as WireLease,
  type Offer as WireOffer,
  type Subscription as WireSubscription,
  type TaskProgress,
  type WorkRequest,
  type WorkResponse,
} from "../../gen/drover/v1/task_pb.js";
import type { Lease } from "../broker/broker.js";
import type {
  Command,
  CoordinatorFrame,
  GoAway,
  Offer,
  ResultAck,
  SessionHello,
  Subscription,
  WorkerFrame,
} from "../coordinator/frames.js";
import { limits } from "../limits.js";
import { parseTaskId } from "../task/ids.js";
import { checkLength, checkName, checkWhole, refuse, shown } from "../task/rules.js";
import { defaultQueue } from "../task/task.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { toWireAsked, toWireError } from "./convert-task.js";
import { toCheckpoint, toWorkerLog } from "./convert-log.js";
import { durationMs, toDuration, toTimestampIf } from "./convert-time.js";
import { toWorkerResult } from "./convert-result.js";

/**
 * Frames of the Work stream between the wire and the coordinator. The checks are the proto's rules
 * by hand, held equal to them by a test: protovalidate is too slow for every frame.
 */

const typesPerSubscription = 256;

export function toHello(hello: Opaque<Hello>): SessionHello {
  checkName("hello.worker_id", hello.workerId);
  const sessionId = parseTaskId(hello.sessionId);
  if (!sessionId) refuse("hello.session_id", "a UUID", hello.sessionId);
  const generation = Number(hello.generation);
  checkWhole("hello.generation", generation, 1, Number.MAX_SAFE_INTEGER);
  checkLabels(hello.labels);
  checkLength("hello.sdk", hello.sdk, 0, 128);
  checkLength("hello.host", hello.host, 0, 256);
  return {
    workerId: hello.workerId,
    sessionId,
    generation,
    heldTokens: hello.heldLeaseTokens,
    offer: hello.offer ? toOffer(hello.offer, "hello.offer") : noOffer,
    labels: hello.labels,
    sdk: hello.sdk,
    host: hello.host,
  };
}

const noOffer: Offer = { slots: 0, maxBytes: limits.frameBytes, subscriptions: [] };

function checkLabels(labels: Readonly<Record<string, string>>): void {
  const entries = Object.entries(labels);
  if (entries.length > limits.labels) {
    refuse("hello.labels", `at most ${limits.labels}`, entries.length);
  }
  for (const [name, value] of entries) {
    checkName(`hello.labels[${shown(name)}]`, name);
    checkName(`hello.labels[${shown(name)}]`, value);
  }
}

export function toOffer(offer: Opaque<WireOffer>, field: string): Offer {
  checkWhole(`${field}.slots`, offer.slots, 0, limits.slotsMax);
  if (offer.maxBytes < 0n) refuse(`${field}.max_bytes`, "0 or more", offer.maxBytes);
  const { subscriptions } = offer;
  if (subscriptions.length > limits.subscriptionsMax) {
    refuse(`${field}.subscriptions`, `at most ${limits.subscriptionsMax}`, subscriptions.length);
  }
  const asked = Number(offer.maxBytes) || limits.frameBytes;
  return {
    slots: offer.slots,
    maxBytes: Math.min(asked, limits.frameBytes),
    subscriptions: subscriptions.map((it, index) =>
      toSubscription(it, `${field}.subscriptions[${index}]`),
    ),
  };
}

function toSubscription(it: Opaque<WireSubscription>, field: string): Subscription {
  if (it.queue !== "") checkName(`${field}.queue`, it.queue);
  if (it.types.length === 0 || it.types.length > typesPerSubscription) {
    refuse(`${field}.types`, `1 to ${typesPerSubscription} types`, it.types.length);
  }
  for (const [index, type] of it.types.entries()) checkName(`${field}.types[${index}]`, type);
  checkWhole(`${field}.weight`, it.weight, 0, 100);
  return { queue: it.queue || defaultQueue, types: it.types, weight: it.weight || 1 };
}

/**
 * Everything of a frame but its hello. One result that cannot be accepted does not fail the others.
 */
export function toWorkerFrame(frame: Opaque<WorkRequest>): WorkerFrame {
  const { heartbeat } = frame;
  return {
    results: frame.results.map(toWorkerResult),
    progress: frame.progress.map(toProgress),
    ...(frame.logs.length > 0 && { logs: frame.logs.map(toWorkerLog) }),
    ...(frame.checkpoints.length > 0 && { checkpoints: frame.checkpoints.map(toCheckpoint) }),
    offer: frame.offer && toOffer(frame.offer, "offer"),
    heartbeat: heartbeat && {
      number: Number(heartbeat.number),
      heldTokens: heartbeat.heldLeaseTokens,
      cpu: Number.isFinite(heartbeat.cpu) ? heartbeat.cpu : 0,
      eventLoopDelayMs: heartbeat.eventLoopDelay
        ? durationMs(heartbeat.eventLoopDelay, "heartbeat.event_loop_delay")
        : 0,
    },
    leaving: frame.leaving,
  };
}

export const toProgress = ({
  leaseToken,
  fraction,
  message,
}: Pick<TaskProgress, "leaseToken" | "fraction" | "message">): WorkerFrame["progress"][number] => ({
  token: leaseToken,
  fraction: Math.min(1, Math.max(0, fraction || 0)),
  message: message.slice(0, 1_024),
});

export const toWireFrame = (frame: CoordinatorFrame): OpaqueInit<WorkResponse> => ({
  welcome: frame.welcome && {
    sessionId: frame.welcome.sessionId,
    resumed: frame.welcome.resumed,
    leaseDuration: toDuration(frame.welcome.leaseMs),
    heartbeatInterval: toDuration(frame.welcome.heartbeatMs),
    revokedLeaseTokens: [...frame.welcome.revokedTokens],
    coordinatorId: frame.welcome.coordinatorId,
    maxFrameBytes: limits.frameBytes,
  },
  leases: frame.leases?.map(toWireLease),
  acks: frame.acks?.map(toWireAck),
  commands: frame.commands?.map(toWireCommand),
  heartbeatAck: frame.heartbeatAck && {
    number: BigInt(frame.heartbeatAck.number),
    renewed: frame.heartbeatAck.renewed,
    unknownLeaseTokens: [...frame.heartbeatAck.unknownTokens],
  },
  goAway: frame.goAway && toWireGoAway(frame.goAway),
  kept: frame.kept?.map(({ token, logSequence, checkpoint }) => {
    return { leaseToken: token, logSequence, checkpoint };
  }),
});

export function toWireLease({
  token,
  task,
  timeoutMs,
  traceContext,
}: Lease): OpaqueInit<WireLease> {
  const { payload } = task;
  const typed = payload && payload.contentType !== "";
  return {
    leaseToken: token,
    fencingToken: BigInt(task.fencingToken),
    timeout: toDuration(timeoutMs),
    // Not spread into a literal: so wide an object made that way costs 90 us.
    task: Object.assign(toWireAsked(task), {
      payload: typed ? undefined : payload?.data,
      payloadBlob: typed ? { contentType: payload.contentType, data: payload.data } : undefined,
      traceContext: { ...(traceContext ?? task.traceContext) },
      run: task.run,
      leaseLosses: task.leaseLosses,
      startedAt: toTimestampIf(task.startedAt),
      error: toWireError(task.error),
    }),
  };
}

const verdicts: Readonly<Record<ResultAck["verdict"], ResultStatus>> = {
  accepted: ResultStatus.ACCEPTED,
  duplicate: ResultStatus.DUPLICATE,
  stale: ResultStatus.STALE,
  retry: ResultStatus.RETRY,
  invalid: ResultStatus.INVALID,
};

export const toResultStatus = (verdict: ResultAck["verdict"]): ResultStatus => verdicts[verdict];

const toWireAck = (ack: ResultAck) => ({
  leaseToken: ack.token,
  status: toResultStatus(ack.verdict),
  message: ack.message,
});

const toWireCommand = (command: Command): OpaqueInit<WireCommand> => ({
  command:
    command.kind === "cancel"
      ? {
          case: "cancel",
          value: { leaseToken: command.token, grace: toDuration(command.graceMs) },
        }
      : { case: "revoke", value: { leaseToken: command.token, reason: command.reason } },
});

const reasons: Readonly<Record<GoAway["reason"], GoAwayReason>> = {
  shutdown: GoAwayReason.SHUTDOWN,
  rebalance: GoAwayReason.REBALANCE,
  superseded: GoAwayReason.SUPERSEDED,
};

const toWireGoAway = (goAway: GoAway) => ({
  reason: reasons[goAway.reason],
  reconnectDelay: toDuration(goAway.reconnectDelayMs),
});
