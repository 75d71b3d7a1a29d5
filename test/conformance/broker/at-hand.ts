import { expect } from "vitest";
import type { Lease, Transition } from "../../../src/broker/broker.js";
import type { Task } from "../../../src/task/task.js";
import {
  check,
  done,
  failed,
  released,
  type Check,
  type Ending,
  type Holder,
  type Kit,
} from "./kit.js";

const bytes = (size: number) => ({ contentType: "text/plain", data: Buffer.alloc(size, "x") });
const fast = { durability: "relaxed" } as const;

type Before = (kit: Kit, lease: Lease, holder: Holder) => Promise<Lease | void>;

/** What may have happened to a task between its lease and its completion, or before either. */
const lives: readonly [string, Partial<Task>, Before?][] = [
  ["nothing", {}],
  ["nothing, on a RELAXED queue", fast],
  ["no payload", { ...fast, payload: undefined }],
  ["a large payload", { ...fast, payload: bytes(5_000) }],
  [
    "names, tags, labels and a trace",
    {
      ...fast,
      namespace: "acme",
      queue: "mail",
      type: "send",
      priority: 3,
      tags: ["a", "b"],
      requiredLabels: { gpu: "yes" },
      traceContext: { traceparent: "00-1" },
      groupKey: "käse",
      maxRetries: 9,
      retentionMs: 5_000,
      timeoutMs: 70_000,
    },
  ],
  ["terms", { ...fast, terms: { deadline: 2 ** 41 } }],
  [
    "progress",
    fast,
    async (kit, { token }, { sessionId }) => {
      await kit.broker.progress([
        { token, sessionId, progress: { fraction: 0.5, message: "half" } },
      ]);
    },
  ],
  [
    "a checkpoint",
    fast,
    async (kit, { token }, { sessionId }) => {
      const item = { token, sessionId, checkpoint: bytes(20) };
      expect(await kit.broker.checkpoint([item])).toEqual([true]);
    },
  ],
  [
    "a request to stop",
    fast,
    async (kit, { task }) => {
      await kit.cancel(task);
    },
  ],
  ["an attempt that failed", fast, (kit, lease, holder) => again(kit, lease, holder, failed(0))],
  [
    "an attempt that was released",
    fast,
    (kit, lease, holder) => again(kit, lease, holder, released()),
  ],
];

async function again(kit: Kit, lease: Lease, holder: Holder, ending: Ending): Promise<Lease> {
  await kit.end(lease, ending);
  if (ending.kind === "fail") await kit.elapse(1_000, holder);
  return kit.take(holder);
}

/** Payloads that history has may be there or not; a view of a buffer is its bytes. */
const comparable = ({ task, payloadOmitted, ...rest }: Transition) => ({
  ...rest,
  payloadOmitted,
  task: {
    ...task,
    payload: payloadOmitted ? undefined : plain(task.payload),
    result: plain(task.result),
  },
});
const plain = (payload: Task["payload"]) =>
  payload && { contentType: payload.contentType, data: Buffer.from(payload.data).toString("hex") };

/** With the lease at hand a completion tells what it does without. */
export const atHandChecks: readonly Check[] = lives.flatMap(([name, change, before]) =>
  [undefined, bytes(30), bytes(3_000)].map((result) =>
    check(
      "B9",
      `tells of a completion with its lease at hand what the outbox tells: ${name}, ` +
        `${result?.data.length ?? "no"} bytes of result`,
      async (kit) => {
        await kit.submitOne(change);
        const holder = await kit.session();
        const first = await kit.take(holder);
        const lease = (await before?.(kit, first, holder)) ?? first;
        const transition = await kit.end(lease, { ...done, result, leased: lease.task } as Ending);
        const entry = (await kit.outbox()).at(-1)!;
        expect(comparable(transition)).toEqual(comparable(entry));
        if (transition.task.payload) {
          expect(plain(transition.task.payload)).toEqual(plain(lease.task.payload));
        }
      },
    ),
  ),
);
