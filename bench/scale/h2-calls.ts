/**
 * SubmitTask over HTTP/2 frames written by hand (RFC 9113, RFC 7541 without a dynamic table). Every
 * client library of Node costs more than the server under measurement, and would be what is
 * measured. Answers are not read, only counted: that all tasks stand is checked in history.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { SubmitTaskRequestSchema } from "../../gen/drover/v1/task_pb.js";
import type { Seen, UnaryOrder } from "./orders.js";
import { now, stamped } from "./stamp.js";
import { seenOf } from "./submits.js";

const frameHead = 9;
const kinds = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 };
const flag = { endStream: 1, ack: 1, endHeaders: 4 };
const largestWindow = 2 ** 31 - 1;
const firstWindow = 65_535;

function frame(kind: number, flags: number, stream: number, body: Buffer): Buffer {
  const head = Buffer.alloc(frameHead);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = kind;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

const text = (value: string): Buffer => Buffer.from(`${String.fromCharCode(value.length)}${value}`);

/** Indices are those of HPACK's static table; literals are never indexed. */
const headerBlock = Buffer.concat([
  Buffer.from([0x83, 0x86]),
  Buffer.from([0x04]),
  text("/drover.v1.TaskService/SubmitTask"),
  Buffer.from([0x01]),
  text("localhost"),
  Buffer.from([0x0f, 31 - 15]),
  text("application/grpc"),
  Buffer.from([0x00]),
  text("te"),
  text("trailers"),
]);

function bodyOf(queue: string): Buffer {
  const data = Buffer.from(JSON.stringify(stamped()));
  const task = { type: "noop", queue, payloadBlob: { contentType: "application/json", data } };
  const message = toBinary(SubmitTaskRequestSchema, create(SubmitTaskRequestSchema, { task }));
  const framed = Buffer.alloc(5 + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}

function window(increment: number): Buffer {
  const body = Buffer.alloc(4);
  body.writeUInt32BE(increment, 0);
  return body;
}

interface Calls {
  /** Calls still to be made, of all connections. */
  left: number;
  readonly took: number[];
}

class Connection {
  readonly #socket: Socket;
  readonly #request: (stream: number) => Buffer;
  readonly #calls: Calls;
  readonly #sentAt = new Map<number, number>();
  #next = 1;
  #rest: Buffer = Buffer.alloc(0);
  #resolve = (): void => undefined;
  #reject: (error: Error) => void = () => undefined;
  readonly done: Promise<void>;

  constructor(socket: Socket, { queue, inFlight }: UnaryOrder, calls: Calls) {
    this.#socket = socket;
    this.#calls = calls;
    const headers = frame(kinds.headers, flag.endHeaders, 0, headerBlock);
    const data = frame(kinds.data, flag.endStream, 0, bodyOf(queue));
    this.#request = (stream) => {
      const both = Buffer.concat([headers, data]);
      both.writeUInt32BE(stream, 5);
      both.writeUInt32BE(stream, headers.length + 5);
      return both;
    };
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    socket.on("error", this.#reject);
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    socket.write(frame(kinds.settings, 0, 0, Buffer.alloc(0)));
    socket.write(frame(kinds.windowUpdate, 0, 0, window(largestWindow - firstWindow)));
    this.#send(inFlight);
  }

  #send(count: number): void {
    const requests: Buffer[] = [];
    for (let n = 0; n < count && this.#calls.left > 0; n += 1) {
      this.#calls.left -= 1;
      this.#sentAt.set(this.#next, now());
      requests.push(this.#request(this.#next));
      this.#next += 2;
    }
    if (requests.length > 0) this.#socket.write(Buffer.concat(requests));
    else if (this.#sentAt.size === 0) this.#resolve();
  }

  #take(chunk: Buffer): void {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let ended = 0;
    while (rest.length >= frameHead) {
      const end = frameHead + rest.readUIntBE(0, 3);
      if (rest.length < end) break;
      if (this.#isEnd(rest[3]!, rest[4]!, rest.readUInt32BE(5), rest.subarray(frameHead, end))) {
        ended += 1;
      }
      rest = rest.subarray(end);
    }
    this.#rest = rest;
    if (ended > 0) this.#send(ended);
  }

  /** Whether the frame ends a call. */
  #isEnd(kind: number, flags: number, stream: number, body: Buffer): boolean {
    if (kind === kinds.reset || kind === kinds.goAway) {
      this.#reject(new Error(`the coordinator broke off a call: frame ${kind}`));
    }
    if (kind === kinds.settings && (flags & flag.ack) === 0) {
      this.#socket.write(frame(kinds.settings, flag.ack, 0, Buffer.alloc(0)));
    }
    if (kind === kinds.ping && (flags & flag.ack) === 0) {
      this.#socket.write(frame(kinds.ping, flag.ack, 0, body));
    }
    if (kind !== kinds.headers || (flags & flag.endStream) === 0) return false;
    this.#calls.took.push(now() - this.#sentAt.get(stream)!);
    this.#sentAt.delete(stream);
    return true;
  }
}

/** All calls, over so many connections; resolves when each was answered. */
export async function callUnary(order: UnaryOrder): Promise<Seen> {
  const port = Number(order.address.split(":").at(-1));
  const sockets: Socket[] = [];
  for (let n = 0; n < order.connections; n += 1) {
    const socket = connect(port, "127.0.0.1");
    socket.setNoDelay(true);
    await once(socket, "connect");
    sockets.push(socket);
  }
  const calls: Calls = { left: order.calls, took: [] };
  const startedAt = now();
  const connections = sockets.map((socket) => new Connection(socket, order, calls));
  await Promise.all(connections.map(({ done }) => done));
  const seen = seenOf(order.calls, startedAt, calls.took);
  for (const socket of sockets) socket.destroy();
  return seen;
}
