import { AdminService } from "../../gen/drover/v1/admin_pb.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { namespaceOf } from "./context.js";
import { mount, type MountedService } from "./contract.js";
import { toWireWorker } from "./convert-queue.js";
import { toPage } from "./page.js";

export function adminService(coordinator: Coordinator): MountedService {
  return mount(AdminService, {
    async listWorkers(request, context) {
      const page = await coordinator.workers(namespaceOf(context), toPage(request));
      return { workers: page.workers.map(toWireWorker), nextPageToken: page.nextPageToken };
    },
  });
}
