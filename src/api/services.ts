import type { Interceptor } from "@connectrpc/connect";
import type { Authenticate } from "../auth/open.js";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { adminService } from "./admin-service.js";
import { batchService } from "./batch-service.js";
import type { MountedService } from "./contract.js";
import { healthService } from "./health.js";
import { authenticateCalls } from "./interceptors/authenticate.js";
import { answerInTime } from "./interceptors/deadline.js";
import { mapErrors, type OnInternal } from "./interceptors/errors.js";
import { validateRequests } from "./interceptors/validate.js";
import { queueService } from "./queue-service.js";
import { reflectionServices } from "./reflection.js";
import { scheduleService } from "./schedule-service.js";
import { taskService } from "./task-service.js";
import { workerService } from "./worker-service.js";

interface ServiceParts {
  readonly coordinator: Coordinator;
  readonly clock: Clock;
}

/** The services of the contract. */
export const contractServices = ({ coordinator, clock }: ServiceParts): MountedService[] => [
  taskService(coordinator, clock),
  workerService(coordinator, clock),
  queueService(coordinator),
  scheduleService(coordinator),
  batchService(coordinator),
  adminService(coordinator),
];

/** Everything a gRPC client can call. */
export const createServices = (parts: ServiceParts): MountedService[] => [
  ...contractServices(parts),
  healthService(parts),
  ...reflectionServices(),
];

interface InterceptorParts {
  readonly authenticate: Authenticate;
  readonly onInternal: OnInternal;
}

/** The same on every door, outermost first. */
export const interceptorsOf = ({ authenticate, onInternal }: InterceptorParts): Interceptor[] => [
  mapErrors(onInternal),
  answerInTime,
  authenticateCalls(authenticate),
  validateRequests,
];
