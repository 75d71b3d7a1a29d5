import { create } from "@bufbuild/protobuf";
import {
  BackfillScheduleRequestSchema,
  CreateScheduleRequestSchema,
  DeleteScheduleRequestSchema,
  GetScheduleRequestSchema,
  ListSchedulesRequestSchema,
  PauseScheduleRequestSchema,
  PreviewScheduleRequestSchema,
  ResumeScheduleRequestSchema,
  ScheduleService,
  TriggerScheduleRequestSchema,
  UpdateScheduleRequestSchema,
} from "../../gen/drover/v1/admin_pb.js";
import { SubmitStatus as WireSubmitStatus } from "../../gen/drover/v1/task_pb.js";
import { methodCodec } from "../transport/methods.js";
import { timestampDate, toTimestamp } from "../transport/times.js";
import type { CallOptions, Calls } from "./calls.js";
import { present } from "./convert.js";
import { fromWireSchedule, toWireOverlap, toWireSchedule } from "./convert-schedule.js";
import { everyPage, type Page, type PageOptions } from "./pages.js";
import type {
  Backfill,
  BackfillOptions,
  NewSchedule,
  PreviewedTick,
  PreviewOptions,
  Schedule,
  Schedules,
} from "./schedule.js";

const { method } = ScheduleService;
const codecs = {
  create: methodCodec(method.createSchedule),
  get: methodCodec(method.getSchedule),
  list: methodCodec(method.listSchedules),
  update: methodCodec(method.updateSchedule),
  delete: methodCodec(method.deleteSchedule),
  pause: methodCodec(method.pauseSchedule),
  resume: methodCodec(method.resumeSchedule),
  trigger: methodCodec(method.triggerSchedule),
  backfill: methodCodec(method.backfillSchedule),
  preview: methodCodec(method.previewSchedule),
};

/** `freshId` makes the UUIDv7 by which a repeated trigger is known. */
export function createSchedules(calls: Calls, freshId: () => string): Schedules {
  return { ...createBook(calls), ...createSteering(calls, freshId) };
}

type Book = Pick<Schedules, "create" | "get" | "list" | "listPage" | "update" | "delete">;

function createBook(calls: Calls): Book {
  async function listPage(options: PageOptions = {}): Promise<Page<Schedule>> {
    const { pageSize, pageToken } = options;
    const request = create(ListSchedulesRequestSchema, present({ pageSize, pageToken }));
    const { schedules, nextPageToken } = await calls.unary(codecs.list, request, options);
    return { items: schedules.map((schedule) => fromWireSchedule(schedule)), nextPageToken };
  }
  return {
    async create(wanted, options) {
      const request = create(CreateScheduleRequestSchema, { schedule: toWireSchedule(wanted) });
      // A repeat of what came through would be refused: the name is taken.
      const plan = { ...options, repeat: false };
      return fromWireSchedule((await calls.unary(codecs.create, request, plan)).schedule);
    },
    async get(name, options) {
      const request = create(GetScheduleRequestSchema, { name });
      return fromWireSchedule((await calls.unary(codecs.get, request, options)).schedule);
    },
    listPage,
    list: (options = {}) => everyPage(options, listPage),
    async update(wanted, options) {
      const schedule = toWireSchedule(wanted);
      const request = create(UpdateScheduleRequestSchema, { schedule });
      // With an etag the second of two equal changes would be refused.
      const plan = { ...options, repeat: wanted.etag === undefined };
      return fromWireSchedule((await calls.unary(codecs.update, request, plan)).schedule);
    },
    async delete(name, { etag, ...options } = {}) {
      const request = create(DeleteScheduleRequestSchema, present({ name, etag }));
      await calls.unary(codecs.delete, request, { ...options, repeat: false });
    },
  };
}

function createSteering(calls: Calls, freshId: () => string): Omit<Schedules, keyof Book> {
  return {
    async pause(name, { note, ...options } = {}) {
      const request = create(PauseScheduleRequestSchema, present({ name, note }));
      return fromWireSchedule((await calls.unary(codecs.pause, request, options)).schedule);
    },
    async resume(name, { note, ...options } = {}) {
      const request = create(ResumeScheduleRequestSchema, present({ name, note }));
      return fromWireSchedule((await calls.unary(codecs.resume, request, options)).schedule);
    },
    async trigger(name, options) {
      const request = create(TriggerScheduleRequestSchema, { name, requestId: freshId() });
      const { taskId, status } = await calls.unary(codecs.trigger, request, options);
      const existing = status === WireSubmitStatus.EXISTING;
      return { id: taskId, status: existing ? "existing" : "submitted" };
    },
    backfill: (name, range) => backfill(calls, name, range),
    preview: (schedule, options = {}) => preview(calls, schedule, options),
  };
}

/** A repeat takes what is left: a tick is never taken twice. */
async function backfill(
  calls: Calls,
  name: string,
  { start, end, overlapPolicy, ...options }: BackfillOptions,
): Promise<Backfill> {
  const request = create(
    BackfillScheduleRequestSchema,
    present({
      name,
      start: toTimestamp(start),
      end: toTimestamp(end),
      overlapPolicy: overlapPolicy && toWireOverlap(overlapPolicy),
    }),
  );
  const { taskIds, ticksWaiting, ticksExisting } = await calls.unary(
    codecs.backfill,
    request,
    options,
  );
  return { taskIds, ticksWaiting, ticksExisting };
}

async function preview(
  calls: Calls,
  schedule: string | NewSchedule,
  { count, after, ...options }: PreviewOptions & CallOptions,
): Promise<readonly PreviewedTick[]> {
  const of =
    typeof schedule === "string" ? { name: schedule } : { schedule: toWireSchedule(schedule) };
  const request = create(
    PreviewScheduleRequestSchema,
    present({ ...of, count, after: after && toTimestamp(after) }),
  );
  const { ticks } = await calls.unary(codecs.preview, request, options);
  return ticks.map(({ tickAt, local }) => ({ tickAt: timestampDate(tickAt!), local }));
}
