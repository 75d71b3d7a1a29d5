import { once } from "node:events";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import { type Channel, openChannel } from "../../src/transport/channel.js";
import { type Duplex, openDuplex } from "../../src/transport/duplex.js";
import type { Refusal } from "../../src/transport/status.js";
import { framed } from "../../src/wire/messages.js";
import { createInbox, type Inbox } from "../support/inbox.js";

/** A gRPC server by hand, so that it can say what no library would. */
class Peer {
  readonly streams = createInbox<http2.ServerHttp2Stream>();
  readonly #server = http2.createServer();
  readonly #sessions = new Set<http2.ServerHttp2Session>();

  async open(): Promise<string> {
    this.#server.on("session", (session) => this.#sessions.add(session));
    this.#server.on("stream", (stream) => this.streams.push(stream));
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
    this.#server.close();
  }
}

const codec = {
  path: "/test/Talk",
  serialize: (text: string) => Buffer.from(text),
  deserialize(bytes: Uint8Array) {
    const text = Buffer.from(bytes).toString();
    if (text === "unreadable") throw new Error("nobody can read that");
    return text;
  },
};
const head = { ":status": 200, "content-type": "application/grpc" };
const frame = (text: string): Buffer => framed(Buffer.from(text));

let peer: Peer;
let channel: Channel;
let answers: Inbox<string>;
let ends: Inbox<Refusal | undefined>;
let writables: Inbox<true>;
let duplex: Duplex<string>;
let stream: http2.ServerHttp2Stream;
/** Who handed the last answer on. */
let stack = "";

beforeEach(async () => {
  peer = new Peer();
  channel = openChannel(await peer.open(), { clock: systemClock });
  await channel.connect();
  answers = createInbox();
  ends = createInbox();
  writables = createInbox();
  duplex = openDuplex(channel, codec, {
    onAnswer(answer) {
      stack = stackHere();
      answers.push(answer);
    },
    onWritable: () => writables.push(true),
    onClose: (refusal) => ends.push(refusal),
  });
  duplex.write("hello");
  stream = await peer.streams.next("a stream");
  stream.on("error", () => undefined);
});

afterEach(() => {
  duplex.cancel();
  channel.close();
  peer.close();
});

/** Answers once and waits until messages go straight to the stream. */
async function taken(extra: http2.OutgoingHttpHeaders = {}): Promise<void> {
  stream.respond({ ...head, ...extra }, { waitForTrailers: true });
  await heard("hello");
  stream.write(frame("first"));
  expect(await answers.next("an answer")).toBe("first");
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}

/** All that has come in must be these messages. */
async function heard(...texts: string[]): Promise<void> {
  const wanted = Buffer.concat(texts.map(frame));
  let came = Buffer.alloc(0);
  while (came.length < wanted.length) {
    const chunk = stream.read() as Buffer | null;
    if (chunk) came = Buffer.concat([came, chunk]);
    else await once(stream, "readable");
  }
  expect(came).toEqual(wanted);
}

function stackHere(): string {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 60;
  const { stack: text } = new Error("here");
  Error.stackTraceLimit = before;
  return String(text);
}

describe("a stream of messages", () => {
  it("goes past the layers of grpc-js once it is open", async () => {
    await taken();
    expect(stack).toContain("grpc-js");
    stream.write(frame("second"));
    expect(await answers.next("an answer")).toBe("second");
    expect(stack).toContain("readDirectly");
    expect(stack).not.toContain("grpc-js");
  });

  it("keeps messages whole and in order, both ways", async () => {
    await taken();
    const long = "x".repeat(100_000);
    duplex.write("a");
    duplex.write(long);
    duplex.write("b");
    await heard("a", long, "b");
    const bytes = Buffer.concat([frame("c"), frame(long), frame(""), frame("d")]);
    for (let at = 0; at < bytes.length; at += 999) stream.write(bytes.subarray(at, at + 999));
    const came = [];
    for (let n = 0; n < 4; n += 1) came.push(await answers.next("an answer"));
    expect(came).toEqual(["c", long, "", "d"]);
  });

  it("says that the peer takes too little, and when it takes more again", async () => {
    await taken();
    const block = "x".repeat(limits.frameBytes);
    let written = 0;
    while (duplex.writable && written < 100) {
      duplex.write(block);
      written += 1;
    }
    expect([written, duplex.writable]).toEqual([16, false]);
    stream.resume();
    await writables.next("room");
    expect(duplex.writable).toBe(true);
  });

  it("takes a compressed answer among others", async () => {
    await taken({ "grpc-encoding": "gzip" });
    const zipped = framed(gzipSync("second"));
    zipped[0] = 1;
    stream.write(zipped);
    expect(await answers.next("an answer")).toBe("second");
    stream.write(frame("third"));
    expect(await answers.next("an answer")).toBe("third");
    duplex.write("still here");
    await heard("still here");
  });

  it("ends with the status that the peer gives, after all answers", async () => {
    await taken();
    stream.on("wantTrailers", () =>
      stream.sendTrailers({ "grpc-status": "9", "grpc-message": "no" }),
    );
    stream.end(Buffer.concat([frame("last"), frame("really")]));
    expect([await answers.next("an answer"), await answers.next("an answer")]).toEqual([
      "last",
      "really",
    ]);
    expect(await ends.next("the end")).toMatchObject({ code: 9, message: "no" });
    expect(duplex.closed).toBe(true);
    duplex.write("too late");
  });

  it("ends in order when both sides have ended", async () => {
    await taken();
    duplex.write("bye");
    duplex.end();
    await heard("bye");
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end();
    expect(await ends.next("the end")).toBeUndefined();
  });

  it("ends when the connection breaks, and takes no more", async () => {
    await taken();
    stream.session!.destroy();
    expect(await ends.next("the end")).toMatchObject({ code: 14 });
    expect(duplex.writable).toBe(false);
  });

  it.each([
    ["an answer nobody can read", frame("unreadable"), 13, "nobody can read that"],
    ["an answer that is too long", Buffer.of(0, 0xff, 0, 0, 0), 8, "larger than max"],
  ])("ends with %s", async (_, bytes, code, text) => {
    await taken();
    stream.write(bytes);
    const refusal = await ends.next("the end");
    expect(refusal).toMatchObject({ code });
    expect(refusal!.message).toContain(text);
  });

  it("refuses to send what no peer takes", async () => {
    await taken();
    duplex.write("x".repeat(limits.messageBytes + 1));
    expect(await ends.next("the end")).toMatchObject({ code: 8 });
  });
});
