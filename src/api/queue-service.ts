import { QueueService } from "../../gen/drover/v1/admin_pb.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { refuse } from "../task/rules.js";
import { namespaceOf } from "./context.js";
import { mount, type MountedService } from "./contract.js";
import { toQueueChange, toWireQueue } from "./convert-queue.js";
import { toPage } from "./page.js";

export function queueService(coordinator: Coordinator): MountedService {
  return mount(QueueService, {
    async getQueue(request, context) {
      return { queue: toWireQueue(await coordinator.queue(namespaceOf(context), request.name)) };
    },
    async listQueues(request, context) {
      const page = await coordinator.queues(namespaceOf(context), toPage(request));
      return { queues: page.queues.map(toWireQueue), nextPageToken: page.nextPageToken };
    },
    async updateQueue({ queue, updateMask }, context) {
      if (!queue) return refuse("queue", "a queue", undefined);
      const change = toQueueChange(queue, updateMask?.paths);
      const changed = await coordinator.updateQueue(namespaceOf(context), queue.name, change);
      return { queue: toWireQueue(changed) };
    },
  });
}
