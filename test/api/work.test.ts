import { status as Status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GoAwayReason, ResultStatus, WorkerService } from "../../gen/drover/v1/task_pb.js";
import type { Lease } from "../../src/broker/broker.js";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import { createTaskFactory } from "../support/task-factory.js";
import { createSeededRandom } from "../support/seeded-random.js";
import { openDoors, type Doors } from "./doors.js";
import type { FakeSession } from "./fake-coordinator.js";
import { type Bidi, errorId, RawClient } from "./grpc-client.js";

let doors: Doors;
let client: RawClient;
beforeAll(async () => {
  doors = await openDoors();
  client = new RawClient(doors.address);
});
afterAll(async () => {
  client.close();
  await doors.stop();
});

const { work } = WorkerService.method;
type WorkStream = Bidi<typeof work.input, typeof work.output>;
const sessionId = "0190aaaa-0000-7000-8000-000000000001";
const hello = { workerId: "w", sessionId, generation: 1n };
const factory = createTaskFactory(createSeededRandom(1), () => 1_000);
const bytes = (text: string) => Buffer.from(text);

const leaseOf = (size: number): Lease => ({
  token: bytes("token"),
  sessionId,
  task: factory.task({
    fencingToken: 2 ** 41 + 1,
    attempt: 1,
    payload: { contentType: "image/png", data: Buffer.alloc(size) },
  }),
  timeoutMs: 1_500,
});

async function open(change: object = {}): Promise<{ stream: WorkStream; session: FakeSession }> {
  const opening = doors.coordinator.nextSession();
  const stream = client.bidi(work);
  stream.send({ hello: { ...hello, ...change } });
  const session = await opening;
  expect((await stream.next()).welcome).toMatchObject({ sessionId, maxFrameBytes: 1 << 20 });
  return { stream, session };
}

describe("frames", () => {
  it("hello opens the session with everything it says", async () => {
    const { session, stream } = await open({
      heldLeaseTokens: [bytes("a"), bytes("b")],
      offer: { slots: 5, subscriptions: [{ types: ["x", "y"] }] },
      labels: { zone: "a" },
      sdk: "test/1",
      host: "here",
    });
    expect(session.namespace).toBe("default");
    expect(session.hello).toMatchObject({
      workerId: "w",
      generation: 1,
      offer: {
        slots: 5,
        maxBytes: limits.frameBytes,
        subscriptions: [{ queue: "default", types: ["x", "y"], weight: 1 }],
      },
      labels: { zone: "a" },
      sdk: "test/1",
      host: "here",
    });
    expect(session.hello.heldTokens.map(String)).toHaveLength(2);
    stream.end();
    await session.gone();
  });

  it("results of every kind arrive, and one that is broken fails alone", async () => {
    const { session, stream } = await open();
    const arrived = session.nextFrame();
    const arrivedNext = arrived.then((frame) =>
      frame.results.length > 0 ? frame : session.nextFrame(),
    );
    const error = { code: "bad", message: "m", stack: "s" };
    stream.send({
      results: [
        {
          leaseToken: bytes("1"),
          outcome: {
            case: "success",
            value: { result: { kind: { case: "boolValue", value: true } } },
          },
        },
        {
          leaseToken: bytes("2"),
          outcome: {
            case: "failure",
            value: { error, nonRetryable: true, retryAfter: { seconds: 2n } },
          },
        },
        { leaseToken: bytes("3"), outcome: { case: "failure", value: {} } },
        { leaseToken: bytes("4"), outcome: { case: "release", value: { delay: { nanos: 1 } } } },
        { leaseToken: bytes("5"), outcome: { case: "cancelled", value: {} } },
        { leaseToken: bytes("6") },
        {
          leaseToken: bytes("7"),
          outcome: {
            case: "success",
            value: { resultBlob: { contentType: "x/y", data: Buffer.alloc(300_000) } },
          },
        },
      ],
      progress: [{ leaseToken: bytes("1"), fraction: 2, message: "half" }],
      leaving: true,
    });
    const frame = await arrivedNext;
    const seen = frame.results.map(({ outcome }) => outcome);
    expect(seen).toMatchObject([
      { kind: "success", result: { contentType: "", data: Buffer.of(32, 1) } },
      { kind: "failure", error: { ...error, retryable: false }, retryAfterMs: 2_000 },
      { kind: "failure", error: { code: "error", retryable: true }, retryAfterMs: undefined },
      { kind: "release", delayMs: 1 },
      { kind: "cancelled" },
      { kind: "invalid" },
      { kind: "invalid" },
    ]);
    expect(frame.progress).toMatchObject([{ fraction: 1, message: "half" }]);
    expect(frame.leaving).toBe(true);
    stream.end();
    await session.gone();
  });

  it("leases, acks, commands and go-away arrive as they were sent", async () => {
    const { session, stream } = await open();
    session.send({ leases: [leaseOf(10)] });
    session.send({ acks: [{ token: bytes("a"), verdict: "stale", message: "moved" }] });
    session.send({
      commands: [
        { kind: "cancel", token: bytes("c"), graceMs: 30_000 },
        { kind: "revoke", token: bytes("r"), reason: "over" },
      ],
    });
    session.send({ goAway: { reason: "rebalance", reconnectDelayMs: 250 } });
    const frame = await stream.next();
    expect(frame.leases[0]).toMatchObject({
      fencingToken: BigInt(2 ** 41 + 1),
      timeout: { seconds: 1n, nanos: 500_000_000 },
      task: { type: "send_email", attempt: 1, payloadBlob: { contentType: "image/png" } },
    });
    expect(frame.acks).toMatchObject([{ status: ResultStatus.STALE, message: "moved" }]);
    expect(frame.commands.map((it) => it.command.case)).toEqual(["cancel", "revoke"]);
    expect(frame.goAway).toMatchObject({ reason: GoAwayReason.REBALANCE });
    stream.end();
    await session.gone();
  });

  it("what is sent in one tick is one frame, and no frame is over 1 MiB", async () => {
    const { session, stream } = await open();
    const sizes: number[] = [];
    stream.call.on("data", (frame: Buffer) => sizes.push(frame.length));
    session.send({ leases: Array.from({ length: 20 }, () => leaseOf(200_000)) });
    let leases = 0;
    while (leases < 20) leases += (await stream.next()).leases.length;
    expect(leases).toBe(20);
    expect(sizes.every((size) => size <= limits.frameBytes)).toBe(true);
    expect(sizes.length).toBeLessThanOrEqual(5);
    stream.end();
    await session.gone();
  });

  it("every heartbeat gets its answer", async () => {
    const { session, stream } = await open();
    stream.send({ heartbeat: { number: 4n, heldLeaseTokens: [bytes("t")], cpu: 0.5 } });
    expect((await stream.next()).heartbeatAck).toMatchObject({ number: 4n, renewed: true });
    expect(session.received.at(-1)!.heartbeat).toMatchObject({ number: 4, cpu: 0.5 });
    stream.end();
    await session.gone();
  });
});

describe("ends", () => {
  it.each([
    ["nothing", {}, "invalid_field"],
    ["no session id", { hello: { ...hello, sessionId: "x" } }, "invalid_field"],
    ["generation 0", { hello: { ...hello, generation: 0n } }, "invalid_field"],
    ["a worker id that is no name", { hello: { ...hello, workerId: "a b" } }, "invalid_field"],
    ["too many slots", { hello: { ...hello, offer: { slots: 10_001 } } }, "invalid_field"],
    [
      "a subscription without types",
      { hello: { ...hello, offer: { slots: 1, subscriptions: [{ queue: "q" }] } } },
      "invalid_field",
    ],
  ])("a first frame with %s is refused", async (_, frame, id) => {
    const stream = client.bidi(work);
    stream.send(frame);
    const status = await stream.status();
    expect(status.code).toBe(Status.INVALID_ARGUMENT);
    expect(errorId(status)).toBe(id);
  });

  it("a second hello ends that stream, and its session hears of it once", async () => {
    const { session, stream } = await open();
    stream.send({ hello });
    const status = await stream.status();
    expect([status.code, errorId(status)]).toEqual([Status.INVALID_ARGUMENT, "invalid_field"]);
    await session.gone();
    expect(session.disconnects).toBe(1);
  });

  it("a malformed or oversized frame ends that stream only", async () => {
    const victim = await open();
    for (const [frame, id] of [
      [Buffer.from([0xff, 0xff, 0xff]), "malformed_message"],
      [Buffer.alloc(limits.frameBytes + 1), "message_too_large"],
    ] as const) {
      const { session, stream } = await open();
      stream.send(frame);
      const status = await stream.status();
      expect(errorId(status)).toBe(id);
      await session.gone();
    }
    victim.stream.send({ heartbeat: { number: 1n } });
    expect((await victim.stream.next()).heartbeatAck).toMatchObject({ number: 1n });
    expect(victim.session.disconnects).toBe(0);
    victim.stream.end();
    await victim.session.gone();
  });

  it("the session can end the stream with an error, after what it sent before", async () => {
    const { session, stream } = await open();
    session.send({ acks: [{ token: bytes("a"), verdict: "accepted", message: "" }] });
    session.port.close(new DroverError("session_superseded", "a newer stream is open"));
    expect((await stream.next()).acks).toHaveLength(1);
    const status = await stream.status();
    expect([status.code, errorId(status)]).toEqual([Status.ABORTED, "session_superseded"]);
    await session.gone();
    expect(session.disconnects).toBe(1);
    session.send({ acks: [] });
  });

  it("a caller that vanishes is reported once", async () => {
    const { session, stream } = await open();
    stream.call.cancel();
    await session.gone();
    expect(session.disconnects).toBe(1);
    expect(session.port.writable).toBe(false);
  });

  it("a worker that does not read is no longer writable, then closed as a slow consumer", async () => {
    const opening = doors.coordinator.nextSession();
    const own = new RawClient(doors.address);
    const stream = own.bidi(work, {}, false);
    stream.send({ hello });
    const session = await opening;
    let sent = 0;
    while (session.disconnects === 0 && sent < 64) {
      session.send({ leases: [leaseOf(200_000)] });
      sent += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    await session.gone();
    expect(session.disconnects).toBe(1);
    expect(session.port.writable).toBe(false);
    // 1 MiB held back, and what HTTP/2 and the socket took before.
    expect(sent).toBeLessThan(40);
    stream.call.resume();
    expect((await stream.status()).code).toBe(Status.RESOURCE_EXHAUSTED);
    own.close();
  });

  it("a worker that reads again is writable again", async () => {
    const opening = doors.coordinator.nextSession();
    const own = new RawClient(doors.address);
    const stream = own.bidi(work, {}, false);
    stream.send({ hello });
    const session = await opening;
    while (session.port.writable) {
      session.send({ leases: [leaseOf(100_000)] });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(session.writables).toBe(0);
    stream.call.resume();
    await expect.poll(() => session.writables, { timeout: 10_000 }).toBe(1);
    expect(session.port.writable).toBe(true);
    stream.end();
    await session.gone();
    own.close();
  });
});
