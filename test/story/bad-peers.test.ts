import { readFileSync } from "node:fs";
import { connect } from "node:net";
import type { ServiceError } from "@grpc/grpc-js";
import { expect, it } from "vitest";
import { ResultStatus, TaskService, WorkerService } from "../../gen/drover/v1/task_pb.js";
import type { Client } from "../../src/client/index.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { Code } from "../../src/errors.js";
import { uuidText } from "../../src/task/uuid.js";
import { type Bidi, errorId, RawClient } from "../api/grpc-client.js";
import { deepValue, field, taskRequest } from "../support/bad-bytes.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import {
  drained,
  expectAgreement,
  expectNoOrphans,
  invalidUnless,
  type Load,
  openLedger,
  startLoad,
  storyClient,
  storyStores,
  until,
} from "../support/story.js";

const { work } = WorkerService.method;
const { submitTask, submitStream } = TaskService.method;
type WorkStream = Bidi<typeof work.input, typeof work.output>;

/** Of a heartbeat, while the others do their worst on a busy machine. */
const answerMs = 3_000;
/** What a coordinator may grow by, whatever its peers do. */
const growthBytes = 96 * 1024 * 1024;
const garbage = Buffer.alloc(64, 0xff);

it("answers bad peers as documented, and harms nobody else for them", async () => {
  const stores = await storyStores();
  const coordinator = await startCoordinator(stores.env);
  const client = storyClient([coordinator.grpc]);
  const worker = await startWorker([coordinator.grpc], { WORKER_CONCURRENCY: "20" });
  const load = startLoad(client, 50);
  const sleeper = await client.submit("sleep", { ms: 10_000 });
  await worker.started(({ taskId }) => taskId === sleeper.id);
  const raw = new RawClient(coordinator.grpc);
  const victim = new RawClient(coordinator.grpc);
  const beats = startBeats(await openWork(victim, []));

  let attacks = await sendBadRequests(raw);
  attacks += await sendBadFrames(coordinator.grpc);
  attacks += await sendGarbage(coordinator.grpc);
  const stolen = await stealLeases(raw, client);
  attacks += stolen.attacks;
  attacks += await neverRead(coordinator, client, load);

  await load.more(100, 20_000);
  await load.stop();
  const heard = await beats.stop();
  const ledger = openLedger(stores);
  const helper = await startWorker([coordinator.grpc], { STORY_QUEUES: "fat" });
  const acknowledged = new Set([...load.acknowledged, sleeper.id]);
  await drained(ledger, acknowledged.size + 1, 60_000);

  invalidUnless(attacks >= 40, `${attacks} attacks`);
  invalidUnless(heard.answers >= 10, `${heard.answers} heartbeats were answered`);
  expect(heard.slowestMs).toBeLessThan(answerMs);
  expect(load.failures).toEqual([]);
  expect((await fetch(`${coordinator.http}/health`)).status).toBe(200);
  expect(coordinator.events.all.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  const troubled = worker.lines.all.filter(({ level }) => level !== "info" && level !== "debug");
  expect(troubled).toEqual([]);
  expect(await client.get(sleeper)).toMatchObject({ status: "completed", attempt: 1 });
  const [result] = (await ledger.attempts()).filter((row) => row.task_id === stolen.id);
  expect(result).toMatchObject({ outcome: "completed", attempt: 1 });

  raw.close();
  victim.close();
  await Promise.all([worker.stop(), helper.stop()]);
  const own = { ...ledger, ...without(ledger, stolen.id) };
  await expectAgreement({ ledger: own, acknowledged, workers: [worker, helper] });
  await expectNoOrphans(stores);
}, 300_000);

/** The task that no story worker ran, but a stream of this test. */
const without = (ledger: ReturnType<typeof openLedger>, id: string) => ({
  tasks: async () => (await ledger.tasks()).filter((row) => row.id !== id),
  attempts: async () => (await ledger.attempts()).filter((row) => row.task_id !== id),
});

const freshId = (): string => uuidText(systemRandom.bytes(16));

async function openWork(
  client: RawClient,
  types: string[],
  held: Uint8Array[] = [],
): Promise<WorkStream> {
  const stream = client.bidi(work);
  const offer = { slots: 1, subscriptions: types.length > 0 ? [{ queue: "default", types }] : [] };
  const sessionId = freshId();
  const hello = { workerId: "peer", sessionId, generation: 1n, heldLeaseTokens: held, offer };
  stream.send({ hello });
  return stream;
}

/** A stream that only wants its heartbeats answered. */
function startBeats(stream: WorkStream) {
  const ending = new AbortController();
  let answers = 0;
  let slowestMs = 0;
  const run = async (): Promise<void> => {
    await stream.next();
    for (let number = 1n; !ending.signal.aborted; number += 1n) {
      const askedAt = systemClock.monotonic();
      stream.send({ heartbeat: { number } });
      const { heartbeatAck } = await stream.next();
      expect(heartbeatAck).toMatchObject({ number, renewed: true });
      answers += 1;
      slowestMs = Math.max(slowestMs, systemClock.monotonic() - askedAt);
      await systemClock.sleep(100, ending.signal).catch(() => undefined);
    }
  };
  const running = run();
  return {
    async stop() {
      ending.abort();
      await running;
      return { answers, slowestMs };
    },
  };
}

async function sendBadRequests(raw: RawClient): Promise<number> {
  const tooDeep = field(5, deepValue(20_000));
  const wanted: [what: string, bytes: Buffer, id: string, code: number][] = [
    ["garbage", garbage, "malformed_message", Code.invalidArgument],
    ["cut", taskRequest().subarray(0, 3), "malformed_message", Code.invalidArgument],
    ["no UTF-8", field(1, field(2, Buffer.of(0xff))), "malformed_message", Code.invalidArgument],
    ["groups", Buffer.alloc(50_000, 0x0b), "malformed_message", Code.invalidArgument],
    ["deep", taskRequest(tooDeep), "invalid_field", Code.invalidArgument],
    ["large", taskRequest(field(6, large(300_000))), "payload_too_large", Code.invalidArgument],
  ];
  for (const [what, bytes, id, code] of wanted) {
    const error = await refusalOf(raw.unary(submitTask, bytes));
    expect([what, error.code, errorId(error)]).toEqual([what, code, id]);
  }
  const over = await refusalOf(raw.unary(submitTask, Buffer.alloc((4 << 20) + 1)));
  expect(over.code).toBe(Code.resourceExhausted);
  return wanted.length + 1;
}

/** A Blob of so many bytes. */
const large = (size: number): Buffer =>
  Buffer.concat([field(1, Buffer.from("a/b")), field(2, Buffer.alloc(size))]);

const refusalOf = (call: Promise<unknown>): Promise<ServiceError> =>
  call.then(
    () => expect.fail("it was taken"),
    (error: ServiceError) => error,
  );

/** Each on a connection of its own: what ends must be that stream alone. */
async function sendBadFrames(address: string): Promise<number> {
  const tooLarge = field(2, Buffer.alloc((1 << 20) + 1));
  const frames = [garbage, Buffer.of(0x0a, 0x7f), field(1, garbage), tooLarge];
  const raw = new RawClient(address);
  for (const frame of frames) {
    for (const stream of [raw.bidi(work), raw.bidi(submitStream)]) {
      stream.send(frame);
      const status = await stream.status();
      expect([Code.invalidArgument, Code.resourceExhausted]).toContain(status.code);
    }
    const opened = await openWork(raw, []);
    await opened.next();
    opened.send(frame);
    const status = await opened.status();
    expect([Code.invalidArgument, Code.resourceExhausted]).toContain(status.code);
  }
  raw.close();
  return frames.length * 3;
}

/** What speaks no HTTP/2 at all. */
async function sendGarbage(address: string): Promise<number> {
  const [host, port] = address.split(":") as [string, string];
  const openings = [
    garbage,
    Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.alloc(1 << 16, 0xff)]),
    Buffer.from("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "latin1"),
  ];
  for (const opening of openings) {
    const socket = connect({ host, port: Number(port) });
    socket.on("error", () => undefined);
    const told = new Promise((resolve) => socket.once("data", resolve).once("close", resolve));
    socket.write(opening);
    await Promise.race([told, systemClock.sleep(500)]);
    socket.resetAndDestroy();
  }
  // Opened and cancelled, as fast as a client can.
  const raw = new RawClient(address);
  for (let n = 0; n < 1_000; n += 1) raw.bidi(work).call.cancel();
  const opened = await openWork(raw, []);
  await opened.next();
  opened.end();
  raw.close();
  return openings.length + 1;
}

/** The owner of a lease alone can end it, once. */
async function stealLeases(raw: RawClient, client: Client) {
  const owner = await openWork(raw, ["theirs"]);
  const thief = await openWork(raw, []);
  await owner.next();
  await thief.next();
  const { id } = await client.submit("theirs", {});
  const [lease] = (await owner.next()).leases;
  const token = Buffer.from(lease!.leaseToken);
  const forged = [
    ...Array.from({ length: 8 }, (_, n) => flipped(token, Math.floor((n * token.length) / 8))),
    token.subarray(0, -1),
    Buffer.alloc(0),
    Buffer.alloc(token.length),
    Buffer.from(systemRandom.bytes(token.length)),
    Buffer.from(systemRandom.bytes(4_096)),
  ];
  const report = async (stream: WorkStream, leaseToken: Buffer, kind: "success" | "failure") => {
    stream.send({ results: [{ leaseToken, outcome: { case: kind, value: {} } }] });
    for (;;) {
      const { acks } = await stream.next();
      if (acks.length > 0) return acks[0]!.status;
    }
  };
  for (const leaseToken of forged) {
    expect(await report(owner, leaseToken, "success")).toBe(ResultStatus.STALE);
  }
  expect(await report(thief, token, "success")).toBe(ResultStatus.STALE);
  expect(await report(thief, token, "failure")).toBe(ResultStatus.STALE);
  const claimant = await openWork(raw, [], [token, ...forged]);
  const { welcome } = await claimant.next();
  expect(welcome!.revokedLeaseTokens).toHaveLength(forged.length + 1);
  expect(await client.get(id)).toMatchObject({ status: "running", attempt: 1 });
  expect(await report(owner, token, "success")).toBe(ResultStatus.ACCEPTED);
  expect(await report(owner, token, "success")).toBe(ResultStatus.DUPLICATE);
  expect(await report(owner, token, "failure")).toBe(ResultStatus.STALE);
  for (const stream of [owner, thief, claimant]) {
    stream.send({ leaving: true });
    stream.end();
  }
  return { id, attacks: forged.length + 4 };
}

function flipped(token: Buffer, at: number): Buffer {
  const changed = Buffer.from(token);
  changed[at]! ^= 1;
  return changed;
}

/** A worker that takes 20 MB of tasks, and a producer of a million mistakes, that never read. */
async function neverRead(
  coordinator: { pid: number; grpc: string },
  client: Client,
  load: Load,
): Promise<number> {
  const pad = "x".repeat(200_000);
  const tasks = Array.from({ length: 100 }, () => ({
    type: "sleep",
    payload: { ms: 1, pad },
    options: { queue: "fat" },
  }));
  for (const outcome of await client.submitMany(tasks)) {
    if (!outcome.ok) throw outcome.error;
    load.acknowledged.add(outcome.id);
  }
  const before = residentBytes(coordinator.pid);
  const raw = new RawClient(coordinator.grpc);
  const deaf = raw.bidi(work, {}, false);
  const offer = { slots: 10_000, subscriptions: [{ queue: "fat", types: ["sleep"] }] };
  deaf.send({ hello: { workerId: "deaf", sessionId: freshId(), generation: 1n, offer } });
  const hasLeases = async (): Promise<boolean> => (await client.stats()).processing > 0;
  await until("the deaf worker is leased tasks", hasLeases, 10_000);
  const shouting = raw.bidi(submitStream, {}, false);
  const items = Array.from({ length: 1_000 }, (_, number) => ({ number, task: { type: "!" } }));
  for (let frame = 0; frame < 50; frame += 1) shouting.send({ items });
  // Meanwhile the others are served, and what can pile up does.
  await load.more(150, 20_000);
  const grown = residentBytes(coordinator.pid) - before;
  expect(grown).toBeLessThan(growthBytes);
  raw.close();
  deaf.call.cancel();
  shouting.call.cancel();
  return 2;
}

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
