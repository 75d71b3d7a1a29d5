/** Worker streams without the SDK: what 1,000 worker processes are to a coordinator, in one. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  WorkRequestSchema,
  WorkResponseSchema,
  type WorkRequest,
  type WorkResponse,
} from "../../gen/drover/v1/task_pb.js";
import { systemRandom } from "../../src/clock.js";
import { limits } from "../../src/limits.js";

import type { StreamsOrder } from "./orders.js";
import type { Payload } from "./stamp.js";
import { type Crew, Tally } from "./works.js";

const headers = {
  ":method": "POST",
  ":path": "/drover.v1.WorkerService/Work",
  "content-type": "application/grpc",
  te: "trailers",
};
const headBytes = 5;
const maxBytes = BigInt(limits.frameBytes);

type Fields = Parameters<typeof create<typeof WorkRequestSchema>>[1];

function framed(fields: Fields): Buffer {
  const message = toBinary(WorkRequestSchema, create(WorkRequestSchema, fields) as WorkRequest);
  const frame = Buffer.alloc(headBytes + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, headBytes);
  return frame;
}

class LightSession {
  readonly #stream: http2.ClientHttp2Stream;
  readonly #tally: Tally;
  readonly #held = new Map<string, Uint8Array>();
  #rest: Buffer = Buffer.alloc(0);
  #beats = 0n;
  #timer: NodeJS.Timeout | undefined;
  #leaving = false;
  readonly welcomed: Promise<void>;
  #onWelcome = (): void => undefined;
  /** Why it ended unasked. */
  failure: string | undefined;

  constructor(connection: http2.ClientHttp2Session, order: StreamsOrder, n: number, tally: Tally) {
    this.#tally = tally;
    this.#stream = connection.request(headers, { endStream: false });
    this.welcomed = new Promise((resolve) => (this.#onWelcome = resolve));
    this.#stream.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#stream.on("error", (error) => (this.failure ??= error.message));
    this.#stream.on("trailers", (trailers) => {
      if (!this.#leaving) this.failure = String(trailers["grpc-message"] ?? "the stream ended");
      this.#onWelcome();
    });
    const subscriptions = [{ queue: order.queue, types: ["noop"] }];
    const offer = { slots: order.slots, maxBytes, subscriptions };
    const [workerId, sdk] = [`light-${n}`, "bench"];
    const hello = { workerId, sessionId: randomUUID(), generation: 1n, sdk, offer };
    this.#stream.write(framed({ hello }));
    // Spread over the interval, as those of workers started by people are.
    this.#timer = setTimeout(() => this.#beat(), systemRandom.next() * limits.heartbeatMs);
  }

  get open(): number {
    return this.#held.size;
  }

  #beat(): void {
    this.#beats += 1n;
    const heldLeaseTokens = [...this.#held.values()];
    this.#stream.write(framed({ heartbeat: { number: this.#beats, heldLeaseTokens } }));
    this.#timer = setTimeout(() => this.#beat(), limits.heartbeatMs);
  }

  #take(chunk: Buffer): void {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (rest.length >= headBytes) {
      const end = headBytes + rest.readUInt32BE(1);
      if (rest.length < end) break;
      this.#obey(fromBinary(WorkResponseSchema, rest.subarray(headBytes, end)));
      rest = rest.subarray(end);
    }
    this.#rest = rest;
  }

  #obey({ welcome, leases, acks }: WorkResponse): void {
    if (welcome) this.#onWelcome();
    for (const { leaseToken } of acks) this.#held.delete(hex(leaseToken));
    const results = leases.map(({ leaseToken, task }) => {
      const blob = task?.payloadBlob?.data ?? new Uint8Array();
      this.#tally.start(0, JSON.parse(Buffer.from(blob).toString()) as Payload);
      this.#held.set(hex(leaseToken), leaseToken);
      return { leaseToken, outcome: { case: "success" as const, value: {} } };
    });
    if (results.length > 0) this.#stream.write(framed({ results }));
  }

  async leave(): Promise<void> {
    clearTimeout(this.#timer);
    this.#leaving = true;
    if (this.#stream.closed) return;
    const closed = once(this.#stream, "close");
    this.#stream.end(framed({ leaving: true }));
    await closed;
  }
}

const hex = (token: Uint8Array): string => Buffer.from(token).toString("latin1");

/** Resolves once every session was welcomed. */
export async function openStreams(order: StreamsOrder): Promise<Crew> {
  const tally = new Tally(1, undefined);
  const connections = Array.from({ length: order.connections }, () => {
    const connection = http2.connect(`http://${order.address}`);
    connection.setMaxListeners(0);
    return connection;
  });
  const sessions = Array.from(
    { length: order.streams },
    (_, n) => new LightSession(connections[n % connections.length]!, order, n, tally),
  );
  await Promise.all(sessions.map(({ welcomed }) => welcomed));
  const failed = sessions.find(({ failure }) => failure !== undefined);
  if (failed) throw new Error(`a worker stream was refused: ${failed.failure}`);
  return {
    tally,
    open: () => sessions.reduce((sum, session) => sum + session.open, 0),
    async stop() {
      await Promise.all(sessions.map((session) => session.leave()));
      for (const connection of connections) connection.close();
    },
  };
}
