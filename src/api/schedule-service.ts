import {
  ScheduleService,
  type BackfillScheduleRequest,
  type PreviewScheduleRequest,
} from "../../gen/drover/v1/admin_pb.js";
import { SubmitStatus } from "../../gen/drover/v1/task_pb.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import type { BackfillRange, Preview, PreviewAsk, Schedules } from "../coordinator/schedules.js";
import { limits } from "../limits.js";
import { refuse } from "../task/rules.js";
import { namespaceOf } from "./context.js";
import { mount, type MountedService, type Opaque } from "./contract.js";
import { localTime, toOverlap, toVersionIf, toWanted, toWireSchedule } from "./convert-schedule.js";
import { timestampMs, toTimestamp } from "./convert-time.js";
import { toPage } from "./page.js";

const previewTicks = 5;

export function scheduleService(coordinator: Coordinator): MountedService {
  return mount(ScheduleService, {
    async createSchedule({ schedule }, context) {
      const made = await coordinator.schedules.create(namespaceOf(context), toWanted(schedule));
      return { schedule: toWireSchedule(made) };
    },
    async getSchedule({ name }, context) {
      const schedule = await coordinator.schedules.get(namespaceOf(context), name);
      return { schedule: toWireSchedule(schedule) };
    },
    async listSchedules(request, context) {
      const page = await coordinator.schedules.list(namespaceOf(context), toPage(request));
      return { schedules: page.schedules.map(toWireSchedule), nextPageToken: page.nextPageToken };
    },
    async updateSchedule({ schedule }, context) {
      const wanted = toWanted(schedule);
      const version = toVersionIf(schedule?.etag ?? "", "schedule.etag");
      const after = await coordinator.schedules.update(namespaceOf(context), wanted, version);
      return { schedule: toWireSchedule(after) };
    },
    async deleteSchedule({ name, etag }, context) {
      const version = toVersionIf(etag, "etag");
      await coordinator.schedules.remove(namespaceOf(context), name, version);
      return {};
    },
    async pauseSchedule({ name, note }, context) {
      const after = await coordinator.schedules.pause(namespaceOf(context), name, note);
      return { schedule: toWireSchedule(after) };
    },
    async resumeSchedule({ name, note }, context) {
      const after = await coordinator.schedules.resume(namespaceOf(context), name, note);
      return { schedule: toWireSchedule(after) };
    },
    async triggerSchedule({ name, requestId }, context) {
      const namespace = namespaceOf(context);
      const { taskId, existing } = await coordinator.schedules.trigger(namespace, name, requestId);
      return { taskId, status: existing ? SubmitStatus.EXISTING : SubmitStatus.SUBMITTED };
    },
    async backfillSchedule(request, context) {
      const { name } = request;
      const range = toRange(request);
      const filled = await coordinator.schedules.backfill(namespaceOf(context), name, range);
      return {
        taskIds: [...filled.taskIds],
        ticksWaiting: filled.waiting,
        ticksExisting: filled.existing,
      };
    },
    async previewSchedule(request, context) {
      const preview = await previewOf(coordinator.schedules, namespaceOf(context), request);
      return { ticks: preview.ticks.map((at) => previewed(at, preview)) };
    },
  });
}

function toRange({ start, end, overlapPolicy }: Opaque<BackfillScheduleRequest>): BackfillRange {
  return {
    from: start ? timestampMs(start, "start") : refuse("start", "a time", undefined),
    until: end ? timestampMs(end, "end") : refuse("end", "a time", undefined),
    overlap: toOverlap(overlapPolicy),
  };
}

function previewOf(
  schedules: Schedules,
  namespace: string,
  { name, schedule, count, after }: Opaque<PreviewScheduleRequest>,
): Promise<Preview> {
  const ask: PreviewAsk = {
    after: after && timestampMs(after, "after"),
    count: Math.min(count || previewTicks, limits.previewTicks),
  };
  if (schedule && name !== "") refuse("schedule", "either it or name", "both");
  if (schedule) return schedules.previewWanted(toWanted(schedule), ask);
  if (name === "") refuse("name", "the name of a schedule, or a schedule", "neither");
  return schedules.preview(namespace, name, ask);
}

const previewed = (at: number, { timeZone }: Preview) => ({
  tickAt: toTimestamp(at),
  local: localTime(at, timeZone),
});
