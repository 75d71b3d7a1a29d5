/**
 * What the hot frames cost to write and to read, by hand and by protobuf-es, side by side in one
 * process: `npx tsx bench/micro/codec.ts [--frame 100] [--ms 300]`.
 */
import { parseArgs } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  SubmitStreamRequestSchema,
  SubmitStreamResponseSchema,
  TaskSchema,
  TaskService,
  WorkRequestSchema,
  WorkResponseSchema,
  type SubmitStreamRequest,
} from "../../gen/drover/v1/task_pb.js";
import { decode } from "../../src/api/codec.js";
import { opaque, opaqueMethod, type Opaque } from "../../src/api/contract.js";
import { toWireFrame, toWorkerFrame } from "../../src/api/convert-frames.js";
import { toDraft } from "../../src/api/convert-task.js";
import { readGeneralFrame, readPlainFrame } from "../../src/api/hot/read-work.js";
import { readSubmitFrame, writeAnswers } from "../../src/api/hot/submit-frames.js";
import { writeFrame } from "../../src/api/hot/write-work.js";
import { toWireOutcome } from "../../src/api/submit-stream.js";
import { encodeAnyTask } from "../../src/client/convert.js";
import { encodeItem, taskOf } from "../../src/client/encode-task.js";
import { readAnswers, streamFrame } from "../../src/client/hot-frames.js";
import type { Submission } from "../../src/client/submissions.js";
import { systemClock } from "../../src/clock.js";
import { opaque as opaqueTask } from "../../src/transport/opaque.js";
import { resultOf, succeeded } from "../../src/worker/outcome.js";
import { readAnswer, writeRequest } from "../../src/worker/hot-frames.js";
import { createSeededRandom } from "../../test/support/seeded-random.js";
import { createTaskFactory } from "../../test/support/task-factory.js";

const { values: flags } = parseArgs({
  options: { frame: { type: "string", default: "100" }, ms: { type: "string", default: "300" } },
});
const size = Number(flags.frame);
const all = <T>(make: (index: number) => T): T[] => Array.from({ length: size }, (_, n) => make(n));

/** Microseconds of one item of a frame. */
function time(run: () => unknown): number {
  for (let count = 0; count < 200; count += 1) run();
  const startedAt = systemClock.monotonic();
  let runs = 0;
  while (systemClock.monotonic() - startedAt < Number(flags.ms)) {
    for (let count = 0; count < 20; count += 1) run();
    runs += 20;
  }
  return ((systemClock.monotonic() - startedAt) * 1_000) / (runs * size);
}

const payload = { n: 1, pad: "x".repeat(85) };
const requestId = "0190aaaa-0000-7000-8000-000000000001";
const submissions = all(() => {
  const item = encodeItem("noop", payload, {});
  item.write(requestId, item.length - requestId.length);
  return { item } as Submission;
});
const items = submissions.map(({ item }, number) => ({
  number,
  task: fromBinary(TaskSchema, taskOf(item)),
  requestId,
}));
const submitFrame = streamFrame(submissions, 1);
const answers = all((number) => ({
  number,
  outcome: { kind: "submitted" as const, taskId: requestId },
}));
const answerFrame = writeAnswers(answers, 0, size);
const factory = createTaskFactory(createSeededRandom(1), () => 1_790_000_000_000);
const leases = all(() => ({
  token: Buffer.alloc(34, 1),
  sessionId: requestId,
  task: factory.task({
    payload: { contentType: "application/json", data: Buffer.from(JSON.stringify(payload)) },
    startedAt: 1_790_000_000_500,
    attempt: 1,
    fencingToken: 2 ** 41 + 7,
  }),
  timeoutMs: 900_000,
}));
const leaseFrame = Buffer.concat(writeFrame({ leases }));
const outcomes = all(() => succeeded("\x01".repeat(34), { ok: true }));
const results = outcomes.map(resultOf);
const resultFrame = writeRequest({ outcomes, rest: undefined });

const submitMethod = opaqueMethod(TaskService.method.submitStream);
const frameDesc = opaque(WorkResponseSchema);
const outcomeDesc = opaque(SubmitStreamResponseSchema);
const workerDesc = opaqueTask(WorkResponseSchema);

/** Name, by hand, by protobuf-es and the conversions around it. */
const figures: readonly [string, () => unknown, () => unknown][] = [
  [
    "producer writes tasks",
    () => {
      for (let n = 0; n < size; n += 1) encodeItem("noop", payload, {});
    },
    () => {
      for (let n = 0; n < size; n += 1) encodeAnyTask("noop", payload, {});
    },
  ],
  [
    "producer writes a frame",
    () => streamFrame(submissions, 1),
    () => toBinary(SubmitStreamRequestSchema, create(SubmitStreamRequestSchema, { items })),
  ],
  [
    "coordinator reads submits",
    () => readSubmitFrame(submitFrame),
    () =>
      (decode(submitMethod, submitFrame) as Opaque<SubmitStreamRequest>).items.map(({ task }) =>
        toDraft(task),
      ),
  ],
  [
    "coordinator writes answers",
    () => writeAnswers(answers, 0, size),
    () => {
      const outcomes = answers.map(({ number, outcome }) => ({
        number,
        outcome: toWireOutcome(outcome),
      }));
      return toBinary(outcomeDesc, create(outcomeDesc, { outcomes } as Record<string, unknown>));
    },
  ],
  [
    "producer reads answers",
    () => readAnswers(answerFrame),
    () => fromBinary(SubmitStreamResponseSchema, answerFrame),
  ],
  [
    "coordinator writes leases",
    () => writeFrame({ leases }),
    () =>
      toBinary(frameDesc, create(frameDesc, toWireFrame({ leases }) as Record<string, unknown>)),
  ],
  ["worker reads leases", () => readAnswer(leaseFrame), () => fromBinary(workerDesc, leaseFrame)],
  [
    "worker writes results",
    () => writeRequest({ outcomes, rest: undefined }),
    () => toBinary(WorkRequestSchema, create(WorkRequestSchema, { results })),
  ],
  [
    "coordinator reads results",
    () => readPlainFrame(resultFrame),
    () => toWorkerFrame(readGeneralFrame(resultFrame)),
  ],
];

console.log(`us an item, frames of ${size}`.padEnd(30), "by hand  protobuf-es   ratio");
for (const [name, byHand, general] of figures) {
  const [hand, other] = [time(byHand), time(general)];
  const cells = [hand.toFixed(2).padStart(7), other.toFixed(2).padStart(12)].join(" ");
  console.log(name.padEnd(30), cells, `x${(other / hand).toFixed(1)}`.padStart(8));
}
