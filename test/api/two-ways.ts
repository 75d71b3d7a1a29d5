import { once } from "node:events";
import * as http2 from "node:http2";
import * as grpc from "@grpc/grpc-js";
import { addService } from "../../src/api/grpc-adapter.js";
import { createServices, interceptorsOf } from "../../src/api/services.js";
import { takeUnaryStreams } from "../../src/api/unary-streams.js";
import { openAccess } from "../../src/auth/open.js";
import { systemClock } from "../../src/clock.js";
import { limits } from "../../src/limits.js";
import { FakeCoordinator } from "./fake-coordinator.js";

/** What came back of one call, frame for frame but for the date. */
export interface Heard {
  readonly headers: Readonly<Record<string, unknown>>;
  readonly trailers: Readonly<Record<string, unknown>>;
  /** Of the data, in hex. */
  readonly data: string;
  readonly code: number | undefined;
}

export interface Asked {
  readonly path?: string;
  readonly headers?: http2.OutgoingHttpHeaders;
  /** One frame each; without, the headers end the request. */
  readonly chunks?: readonly Buffer[];
}

/** The gRPC services over a coordinator of their own, with one connection to them. */
export class Way {
  readonly coordinator = new FakeCoordinator();
  readonly internal: unknown[] = [];
  readonly #server: grpc.Server;
  session!: http2.ClientHttp2Session;
  address = "";
  /** Listeners whose unary calls are served past grpc-js. */
  taken = 0;
  /** Calls that grpc-js served. */
  general = 0;

  private constructor(options: grpc.ServerOptions) {
    this.#server = new grpc.Server(options);
  }

  static async open(past: boolean, options: grpc.ServerOptions = {}): Promise<Way> {
    const way = new Way({
      "grpc.max_receive_message_length": limits.messageBytes,
      "grpc.max_send_message_length": limits.messageBytes,
      "grpc.enable_channelz": 0,
      ...options,
    });
    const parts = {
      coordinator: way.coordinator,
      authenticate: openAccess,
      clock: systemClock,
      onInternal: (cause: unknown) => void way.internal.push(cause),
    };
    const { signal } = new AbortController();
    const adapter = { ...parts, interceptors: interceptorsOf(parts), closing: signal };
    const unary = createServices(parts).flatMap((it) => addService(way.#server, it, adapter));
    const port = await new Promise<number>((resolve, reject) => {
      const credentials = grpc.ServerCredentials.createInsecure();
      way.#server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    way.#count();
    if (past) way.taken = takeUnaryStreams(way.#server, unary, systemClock);
    way.address = `127.0.0.1:${port}`;
    way.session = await way.connect();
    return way;
  }

  /** Another connection; the caller ends it. */
  async connect(): Promise<http2.ClientHttp2Session> {
    const session = http2.connect(`http://${this.address}`);
    await once(session, "connect");
    return session;
  }

  #count(): void {
    const { http2Servers } = this.#server as unknown as {
      readonly http2Servers: ReadonlyMap<http2.Http2Server, unknown>;
    };
    for (const server of http2Servers.keys()) {
      const [serve] = server.listeners("stream") as ((...args: unknown[]) => void)[];
      server.removeAllListeners("stream");
      server.on("stream", (...args: unknown[]) => {
        this.general += 1;
        serve!(...args);
      });
    }
  }

  begin({ path = "/drover.v1.TaskService/SubmitTask", headers, chunks }: Asked) {
    const fields = { "content-type": "application/grpc", te: "trailers", ...headers };
    const stream = this.session.request(
      { ":method": "POST", ":path": path, ...fields },
      { endStream: chunks === undefined },
    );
    for (const chunk of chunks ?? []) stream.write(chunk);
    if (chunks) stream.end();
    return stream;
  }

  async ask(asked: Asked): Promise<Heard> {
    return hear(this.begin(asked));
  }

  async close(): Promise<void> {
    this.session.destroy();
    this.#server.forceShutdown();
  }
}

export async function hear(stream: http2.ClientHttp2Stream): Promise<Heard> {
  let headers: Heard["headers"] = {};
  let trailers: Heard["trailers"] = {};
  const data: Buffer[] = [];
  stream.on("response", (found) => (headers = plain(found)));
  stream.on("trailers", (found) => (trailers = plain(found)));
  stream.on("data", (chunk: Buffer) => data.push(chunk));
  stream.on("end", () => stream.end());
  stream.on("error", () => undefined);
  await new Promise((resolve) => stream.once("close", resolve));
  return { headers, trailers, data: Buffer.concat(data).toString("hex"), code: stream.rstCode };
}

const plain = (found: object): Record<string, unknown> => {
  const fields = Object.fromEntries(Object.entries(found));
  delete fields.date;
  return fields;
};

/** A message as gRPC frames it. */
export function framed(message: Uint8Array, compressed = 0, length = message.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, message]);
}
