import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Line } from "../../src/broker/redis/line.js";
import { ReplyError } from "../../src/broker/redis/reply-reader.js";
import { createManualClock, type ManualClock } from "../support/manual-clock.js";

const answerMs = 2_000;

/** A socket between a line and a Redis that says what the test says. */
let server: Server;
let ours: Socket;
let redis: Socket;
let clock: ManualClock;
let line: Line;
/** What the reader before the line has heard. */
let before: Buffer[];

beforeEach(async () => {
  server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const accepted = once(server, "connection");
  ours = connect((server.address() as AddressInfo).port, "127.0.0.1");
  [redis] = (await accepted) as [Socket];
  before = [];
  // As ioredis reads.
  ours.prependListener("data", (chunk: Buffer) => before.push(chunk)).resume();
  clock = createManualClock();
  line = new Line(ours, clock, answerMs);
});

afterEach(() => {
  ours.destroy();
  redis.destroy();
  server.close();
});

const send = (name: string): Promise<unknown> => line.send(name, [], "");

/** What has become of it once all promises that are ready have run on. */
async function outcomeOf(reply: Promise<unknown>): Promise<unknown> {
  return reply.catch((error: unknown) => error);
}

async function heard(bytes: number): Promise<string> {
  let text = "";
  while (text.length < bytes) {
    const chunk = redis.read() as Buffer | null;
    if (chunk) text += chunk.toString();
    else await once(redis, "readable");
  }
  return text;
}

describe("a line to Redis", () => {
  it("gives each command its own answer, in their order, and the reader before it none", async () => {
    const replies = [send("ONE"), send("TWO"), send("THREE")];
    const asked = "*1\r\n$3\r\nONE\r\n*1\r\n$3\r\nTWO\r\n*1\r\n$5\r\nTHREE\r\n";
    expect(await heard(asked.length)).toBe(asked);
    redis.write(":1\r\n-ERR the second\r\n$5\r\nth");
    expect(await replies[0]).toBe(1);
    expect(await outcomeOf(replies[1]!)).toMatchObject({ id: "internal" });
    redis.write("ree\r\n");
    expect(await replies[2]).toEqual(Buffer.from("three"));
    expect(before).toEqual([]);
  });

  it("says what Redis refused in the words of the catalog", async () => {
    const of = async (said: string): Promise<unknown> => {
      const reply = send("FCALL");
      redis.write(`-${said}\r\n`);
      return outcomeOf(reply);
    };
    expect(await of("OOM command not allowed")).toMatchObject({ id: "overloaded" });
    expect(await of("LOADING the dataset")).toMatchObject({ id: "broker_unavailable" });
    expect(await of("MOVED 3 127.0.0.1:7001")).toMatchObject({ id: "broker_unavailable" });
    const forgotten = await of("NOSCRIPT No matching script");
    expect(forgotten).toBeInstanceOf(ReplyError);
    expect(await of("ERR Function not found")).toBeInstanceOf(ReplyError);
  });

  it("gives all up and destroys the socket when the oldest is overdue", async () => {
    const first = outcomeOf(send("FIRST"));
    await clock.advance(answerMs / 2);
    const second = outcomeOf(send("SECOND"));
    await clock.advance(answerMs / 2 - 1);
    expect(ours.destroyed).toBe(false);
    await clock.advance(1);
    expect(ours.destroyed).toBe(true);
    const late = { id: "broker_unavailable", message: expect.stringContaining("2000 ms") };
    expect(await first).toMatchObject(late);
    expect(await second).toMatchObject(late);
    expect(clock.pending).toBe(0);
  });

  it("gives a later command its own time", async () => {
    const first = send("FIRST");
    await clock.advance(answerMs - 1);
    const second = outcomeOf(send("SECOND"));
    redis.write(":1\r\n");
    expect(await first).toBe(1);
    await clock.advance(answerMs - 1);
    expect(ours.destroyed).toBe(false);
    await clock.advance(1);
    expect(ours.destroyed).toBe(true);
    expect(await second).toMatchObject({ id: "broker_unavailable" });
  });

  it("rejects what waits when the socket closes, and what comes after that", async () => {
    const waits = outcomeOf(send("WAITS"));
    redis.destroy();
    expect(await waits).toMatchObject({ id: "broker_unavailable" });
    expect(clock.pending).toBe(0);
    expect(await outcomeOf(send("LATER"))).toMatchObject({ id: "broker_unavailable" });
    expect(clock.pending).toBe(0);
  });

  it.each([
    ["what nobody can read", ">1\r\n"],
    ["what it was not asked", ":1\r\n:2\r\n"],
  ])("destroys the socket of a Redis that answers %s", async (_, said) => {
    const first = outcomeOf(send("FIRST"));
    redis.write(said);
    await once(ours, "close");
    const [kind] = said;
    if (kind === ":") expect(await first).toBe(1);
    else expect(await first).toMatchObject({ id: "broker_unavailable" });
  });
});
