import { create, toBinary } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { status as Status, type ServiceError } from "@grpc/grpc-js";
import { fc, test } from "@fast-check/vitest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  SubmitTaskRequestSchema,
  TaskService,
  WorkerService,
} from "../../gen/drover/v1/task_pb.js";
import { encodeValue } from "../../src/api/value-json.js";
import { systemClock } from "../../src/clock.js";
import { openDoors, type Doors } from "./doors.js";
import { type Bidi, errorId, RawClient } from "./grpc-client.js";

let doors: Doors;
let attacker: RawClient;
let victim: RawClient;
let stream: Bidi<typeof work.input, typeof work.output>;
const { work } = WorkerService.method;
const { submitTask, submitTasks, submitStream } = TaskService.method;

beforeAll(async () => {
  doors = await openDoors();
  attacker = new RawClient(doors.address);
  victim = new RawClient(doors.address);
  stream = victim.bidi(work);
  const sessionId = "0190aaaa-0000-7000-8000-000000000001";
  stream.send({ hello: { workerId: "victim", sessionId, generation: 1n } });
  await stream.next();
});
afterAll(async () => {
  attacker.close();
  victim.close();
  await doors.stop();
});

let beats = 0n;
/** Another stream's heartbeat is answered, and soon. */
async function expectUnharmed(): Promise<void> {
  const before = systemClock.monotonic();
  beats += 1n;
  stream.send({ heartbeat: { number: beats } });
  expect((await stream.next()).heartbeatAck).toMatchObject({ number: beats, renewed: true });
  expect(systemClock.monotonic() - before).toBeLessThan(5_000);
  expect(doors.internal).toEqual([]);
}

const field = (no: number, bytes: Uint8Array): Buffer =>
  Buffer.concat([varint((no << 3) | 2), varint(bytes.length), bytes]);
function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    bytes.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) return Buffer.from(bytes);
  }
}
const task = (...fields: Buffer[]): Buffer =>
  field(1, Buffer.concat([field(2, Buffer.from("x")), ...fields]));
const nest = (levels: number): unknown => (levels === 0 ? 1 : { a: nest(levels - 1) });
const deepValue = (levels: number): Buffer => {
  let value: Buffer = Buffer.of(8, 0);
  for (let level = 0; level < levels; level++) value = field(6, field(1, value));
  return value;
};
const entry = (key: string, value: string) =>
  Buffer.concat([field(1, Buffer.from(key)), field(2, Buffer.from(value))]);

describe("forged bytes get a documented code, and nobody else feels it", () => {
  it.each<[string, Buffer, string, number]>([
    ["garbage", Buffer.alloc(64, 0xff), "malformed_message", 3],
    ["a cut message", task().subarray(0, 3), "malformed_message", 3],
    ["a wrong wire type", field(1, Buffer.of(0x10, 1)), "malformed_message", 3],
    ["invalid UTF-8", field(1, field(2, Buffer.of(0xff, 0xfe))), "malformed_message", 3],
    ["nested groups", Buffer.alloc(50_000, 0x0b), "malformed_message", 3],
    ["an unknown field in a task", task(field(900, Buffer.of(1))), "unsupported_field", 3],
    ["an output-only field", task(field(1, Buffer.from("id"))), "output_only_field", 3],
    ["a payload 40 objects deep", task(field(5, encodeValue(nest(40)))), "invalid_field", 3],
    ["a payload 101 lists deep", task(field(5, deepValue(101))), "invalid_field", 3],
    ["a payload 20,000 lists deep", task(field(5, deepValue(20_000))), "invalid_field", 3],
    ["a broken payload", task(field(5, Buffer.of(0xff, 0xff))), "invalid_field", 3],
    [
      "two payloads",
      task(field(5, encodeValue(1)), field(6, field(1, Buffer.from("a/b")))),
      "invalid_field",
      3,
    ],
    ["bytes without a media type", task(field(6, field(2, Buffer.of(1)))), "invalid_field", 3],
    ["a lost map key", task(field(13, entry("__proto__", "x"))), "malformed_message", 3],
    ["NUL in a tag", task(field(14, Buffer.of(0))), "invalid_field", 3],
    ["no task", Buffer.alloc(0), "invalid_field", 3],
    [
      "a year beyond 9999",
      task(field(9, Buffer.of(8, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))),
      "invalid_field",
      3,
    ],
    [
      "300 KiB of payload",
      task(field(5, encodeValue("x".repeat(300_000)))),
      "payload_too_large",
      3,
    ],
  ])("%s", async (_, bytes, id, code) => {
    const error = await attacker.unary(submitTask, bytes).then(
      () => expect.fail("it was taken"),
      (thrown: ServiceError) => thrown,
    );
    expect([error.code, errorId(error)]).toEqual([code, id]);
    await expectUnharmed();
  });

  it("a message over 4 MiB is refused before it is read", async () => {
    const call = attacker.unary(submitTask, Buffer.alloc((4 << 20) + 1));
    await expect(call).rejects.toMatchObject({ code: Status.RESOURCE_EXHAUSTED });
    await expectUnharmed();
  });

  it("4 MiB of empty tasks are counted, not decoded", async () => {
    const bytes = Buffer.alloc((4 << 20) - 10).fill(Buffer.of(0x0a, 0));
    const error = await attacker.unary(submitTasks, bytes).catch((thrown: ServiceError) => thrown);
    expect(errorId(error as ServiceError)).toBe("too_many_items");
    await expectUnharmed();
  });

  it("a frame of empty items ends its own stream", async () => {
    const attack = attacker.bidi(submitStream);
    attack.send(Buffer.alloc((1 << 20) - 10).fill(Buffer.of(0x0a, 0)));
    const status = await attack.status();
    expect(errorId(status)).toBe("too_many_items");
    await expectUnharmed();
  });

  it("the key __proto__ inside a payload is data like any other", async () => {
    const payload = encodeValue(JSON.parse('{"__proto__":{"x":1}}'));
    const { taskId } = await attacker.unary(submitTask, task(field(5, payload)));
    const kept = doors.coordinator.tasks.get(taskId)!.payload!;
    expect(Buffer.from(kept.data)).toEqual(Buffer.from(payload));
  });
});

const sound = Buffer.from(
  toBinary(
    SubmitTaskRequestSchema,
    create(SubmitTaskRequestSchema, {
      task: {
        type: "x",
        priority: 1,
        payload: create(ValueSchema, { kind: { case: "stringValue", value: "hello" } }),
        requiredLabels: { a: "b" },
        tags: ["t"],
        delay: { seconds: 1n },
        retryPolicy: { multiplier: 2 },
      },
    }),
  ),
);

describe("mutated messages", () => {
  test.prop(
    [
      fc.array(fc.tuple(fc.nat(sound.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(sound.length),
    ],
    { numRuns: 300 },
  )("end in OK or a documented code", async (changes, length) => {
    const bytes = Buffer.from(sound);
    for (const [at, value] of changes) bytes[at] = value;
    const outcome = await attacker
      .unary(submitTask, bytes.subarray(0, length || sound.length))
      .then(() => "ok", errorId);
    const documented = ["ok", "malformed_message", "invalid_field", "unsupported_field"];
    expect([...documented, "output_only_field", "payload_too_large"]).toContain(outcome);
  });

  it("and others are unharmed after all of them", () => expectUnharmed());
});

describe("stopping", () => {
  it("ends streams with a reason, and answers what was under way", async () => {
    const own = await openDoors();
    const client = new RawClient(own.address);
    const submits = client.bidi(submitStream);
    submits.send({ items: [{ number: 1, task: { type: "a" } }] });
    await submits.next();
    let open = () => undefined as void;
    own.coordinator.gate = new Promise((resolve) => (open = resolve));
    const pending = client.unary(submitTask, { task: { type: "late" } });
    const rest = fetch(`${own.url}/task`, { method: "POST", body: '{"type":"late"}' });
    await expect.poll(() => own.coordinator.submitted.length).toBe(3);
    const stopped = own.stop();
    expect((await submits.status()).code).toBe(Status.UNAVAILABLE);
    open();
    expect((await pending).taskId).not.toBe("");
    expect((await rest).status).toBe(200);
    await stopped;
    await expect(fetch(`${own.url}/health`)).rejects.toThrow("fetch failed");
    client.close();
  });

  it("breaks off what does not end in time", async () => {
    const own = await openDoors();
    const client = new RawClient(own.address);
    own.coordinator.gate = new Promise(() => undefined);
    // The client's library may take its time to notice; the door does not.
    client.unary(submitTask, { task: { type: "x" } }).catch(() => undefined);
    const rest = fetch(`${own.url}/task`, { method: "POST", body: '{"type":"x"}' }).then(
      () => "answered",
      () => "broken off",
    );
    await expect.poll(() => own.coordinator.submitted.length).toBe(2);
    await own.stop();
    expect(await rest).toBe("broken off");
    client.close();
  });
});
