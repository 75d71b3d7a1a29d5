import { create } from "@bufbuild/protobuf";
import { WorkerService } from "../../gen/drover/v1/task_pb.js";
import {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../gen/grpc/health/v1/health_pb.js";
import type { Clock } from "../clock.js";
import type { Channel } from "../transport/channel.js";
import { methodCodec } from "../transport/methods.js";
import { callUnary } from "../transport/unary.js";

/** Sessions are renewed in 13.5 s or never: a slow one is no better than the one we have. */
const answerMs = 2_000;

const codec = methodCodec(Health.method.check);

/**
 * Whether the coordinator can renew sessions now. One that does not answer, or does not know the
 * question, cannot. Rejects with the reason of the signal.
 */
export async function servesWorkers(
  channel: Channel,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  const request = create(HealthCheckRequestSchema, { service: WorkerService.typeName });
  const outcome = await callUnary(channel, codec, request, { clock, timeoutMs: answerMs, signal });
  return "answer" in outcome && outcome.answer.status === Serving.SERVING;
}
