import type { HandlerContext } from "@connectrpc/connect";
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../gen/grpc/health/v1/health_pb.js";
import { WorkerService } from "../../gen/drover/v1/task_pb.js";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { Code, ConnectError } from "@connectrpc/connect";
import { contractFiles, mount, type MountedService } from "./contract.js";

const pollMs = 500;

interface HealthParts {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
}

/**
 * grpc.health.v1: SERVING while the coordinator is ready. Workers need the broker besides: without
 * it their service is NOT_SERVING, so that they can look for a coordinator that has it.
 */
export function healthService({ coordinator, clock }: HealthParts): MountedService {
  const names = new Set(["", ...contractFiles.flatMap((it) => it.services.map((s) => s.typeName))]);
  const status = (service: string) => {
    const ready =
      coordinator.notReady() === undefined &&
      (service !== WorkerService.typeName || coordinator.degraded() === undefined);
    return ready ? Serving.SERVING : Serving.NOT_SERVING;
  };
  return mount(Health, {
    async check({ service }) {
      if (!names.has(service)) throw new ConnectError("unknown service", Code.NotFound);
      return { status: status(service) };
    },
    async *watch({ service }, context: HandlerContext) {
      let told: Serving | undefined;
      for (;;) {
        const now = names.has(service) ? status(service) : Serving.SERVICE_UNKNOWN;
        if (now !== told) yield { status: now };
        told = now;
        await clock.sleep(pollMs, context.signal);
      }
    },
  });
}
