import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import { AdminService, QueueService } from "../../gen/drover/v1/admin_pb.js";
import {
  type Heartbeat,
  type HeartbeatAckSchema,
  type LeaseSchema,
  ResultStatus,
  type SubmitStreamRequest,
  SubmitStreamRequestSchema,
  SubmitStreamResponseSchema,
  TaskService,
  WorkerService,
  type WorkRequest,
  WorkResponseSchema,
} from "../../gen/drover/v1/task_pb.js";
import { fromBinary, toBinary, type DescMessage, type DescMethod } from "@bufbuild/protobuf";
import {
  Health,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../gen/grpc/health/v1/health_pb.js";
import { createInbox, type Inbox } from "./inbox.js";

type Answer = MessageInitShape<typeof WorkResponseSchema>;

/**
 * The coordinator's end of one Work stream. Nothing is answered but what the script says, or what
 * is automatic.
 */
export interface FakeStream {
  readonly hello: NonNullable<WorkRequest["hello"]>;
  /** Frames after the hello. */
  readonly frames: Inbox<WorkRequest>;
  readonly ended: Promise<void>;
  readonly cancelled: Promise<void>;
  readonly headers: Metadata;
  send(answer: Answer): void;
  lease(...leases: MessageInitShape<typeof LeaseSchema>[]): void;
  /** Ends it in order, or with a status. */
  end(code?: number, details?: string): void;
  /** Awaits the results of these tokens, and acks each of them. */
  settle(status?: ResultStatus): Promise<WorkRequest["results"][number]>;
}

export interface FakeSubmitStream {
  readonly frames: Inbox<SubmitStreamRequest>;
  readonly ended: Promise<void>;
  answer(outcomes: MessageInitShape<typeof SubmitStreamResponseSchema>["outcomes"]): void;
  end(code?: number, details?: string, metadata?: Metadata): void;
}

export type UnaryScript = (request: never) => unknown;

type HeartbeatScript = (heartbeat: Heartbeat) => MessageInitShape<typeof HeartbeatAckSchema>;

export interface FakeOptions {
  /** Answers hello by itself. Default true. */
  welcome?: boolean;
  /** Answers heartbeats by itself, with more in the answer if a function says so. Default true. */
  heartbeats?: boolean | HeartbeatScript;
  /** Acks what is left when the worker leaves, and ends when it half-closes. Default true. */
  farewell?: boolean;
  /** Beats of the worker, as the welcome tells it. Default: says nothing, so 5 s. */
  heartbeatMs?: number;
  leaseMs?: number;
  /**
   * Answers of unary calls by method name, e.g. getTask; the rest is UNIMPLEMENTED. May throw
   * FakeStatus.
   */
  unary?: Record<string, UnaryScript>;
  /** What it says of its health. Default: Health is UNIMPLEMENTED. */
  serving?: () => boolean;
  /** False: SubmitStream is UNIMPLEMENTED. Default true. */
  submitStream?: boolean;
  port?: number;
}

export interface FakeCoordinator {
  readonly address: string;
  readonly port: number;
  readonly options: FakeOptions;
  readonly submits: Inbox<FakeSubmitStream>;
  /** Streams whose hello came. */
  readonly streams: Inbox<FakeStream>;
  nextStream(): Promise<FakeStream>;
  /** At once, with every stream. */
  stop(): void;
}

/** Throw it from a unary script. */
export class FakeStatus extends Error {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;

  constructor(code: number, details: string, metadata: Metadata = new Metadata()) {
    super(details);
    this.code = code;
    this.details = details;
    this.metadata = metadata;
  }
}

/** Speaks the real protocol over real TCP, with a script for a brain. Stopped after each test. */
export async function startFakeCoordinator(options: FakeOptions = {}): Promise<FakeCoordinator> {
  const server = new Server({ "grpc.max_receive_message_length": 8 * 1024 * 1024 });
  const streams = createInbox<FakeStream>(() => "a stream");
  const submits = createInbox<FakeSubmitStream>(() => "a submit stream");
  addService(server, WorkerService.method, { work: workHandler(options, streams) });
  addService(server, TaskService.method, {
    ...unaryHandlers(options),
    ...(options.submitStream === false ? {} : { submitStream: submitHandler(submits) }),
  });
  addService(server, QueueService.method, unaryHandlers(options));
  addService(server, AdminService.method, unaryHandlers(options));
  if (options.serving) addService(server, Health.method, { check: healthHandler(options.serving) });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(
      `127.0.0.1:${options.port ?? 0}`,
      ServerCredentials.createInsecure(),
      (error, bound) => (error ? reject(error) : resolve(bound)),
    );
  });
  const coordinator: FakeCoordinator = {
    address: `127.0.0.1:${port}`,
    port,
    options,
    streams,
    submits,
    nextStream: () => streams.next("stream"),
    stop: () => server.forceShutdown(),
  };
  onTestFinished(() => coordinator.stop());
  return coordinator;
}

function addService(
  server: Server,
  methods: Record<string, DescMethod>,
  handlers: Record<string, unknown>,
): void {
  const definition: Record<string, object> = {};
  const implementation: Record<string, unknown> = {};
  for (const [name, method] of Object.entries(methods)) {
    if (!Object.hasOwn(handlers, name)) continue;
    implementation[name] = handlers[name];
    definition[name] = {
      path: `/${method.parent.typeName}/${method.name}`,
      requestStream: method.methodKind === "bidi_streaming",
      responseStream: method.methodKind !== "unary",
      ...codecs("request", method.input),
      ...codecs("response", method.output),
    };
  }
  if (Object.keys(definition).length === 0) return;
  server.addService(definition as never, implementation as UntypedServiceImplementation);
}

const codecs = (side: "request" | "response", schema: DescMessage) => ({
  [`${side}Serialize`]: (message: never) => Buffer.from(toBinary(schema, message)),
  [`${side}Deserialize`]: (bytes: Buffer) => fromBinary(schema, bytes),
});

function unaryHandlers(options: FakeOptions): Record<string, unknown> {
  const handlers: Record<string, unknown> = {};
  const outputs: Record<string, DescMethod> = {
    ...TaskService.method,
    ...QueueService.method,
    ...AdminService.method,
  };
  for (const [name, script] of Object.entries(options.unary ?? {})) {
    const { output } = outputs[name]!;
    handlers[name] = (call: ServerUnaryCall<never, unknown>, reply: sendUnaryData<unknown>) => {
      void Promise.resolve()
        .then(() => script(call.request))
        .then(
          (answer) => reply(null, create(output, answer as never)),
          (error: unknown) => reply(error as FakeStatus),
        );
    };
  }
  return handlers;
}

function healthHandler(serving: () => boolean) {
  return (_call: unknown, reply: sendUnaryData<unknown>): void => {
    const status = serving() ? Serving.SERVING : Serving.NOT_SERVING;
    reply(null, create(Health.method.check.output, { status }));
  };
}

type WorkCall = ServerDuplexStream<WorkRequest, unknown>;

function workHandler(options: FakeOptions, streams: Inbox<FakeStream>) {
  return (call: WorkCall): void => {
    const frames = createInbox<WorkRequest>(describeFrame);
    const send = (answer: Answer): void => void call.write(create(WorkResponseSchema, answer));
    const ended = new Promise<void>((resolve) => call.once("end", resolve));
    const cancelled = new Promise<void>((resolve) => call.once("cancelled", resolve));
    const unacked: Uint8Array[] = [];
    let leaving = false;
    call.on("error", () => undefined);
    call.on("data", (frame: WorkRequest) => {
      const { hello, heartbeat } = frame;
      if (hello) {
        if (options.welcome !== false) send(welcomeOf(options, hello.sessionId));
        return streams.push(fakeStream(call, hello, { frames, send, ended, cancelled }));
      }
      if (heartbeat && options.heartbeats !== false) {
        const more = typeof options.heartbeats === "function" ? options.heartbeats(heartbeat) : {};
        send({ heartbeatAck: { number: heartbeat.number, renewed: true, ...more } });
      }
      // A worker that leaves waits for its acks: nobody has to script them.
      leaving ||= frame.leaving && options.farewell !== false;
      unacked.push(...frame.results.map((result) => result.leaseToken));
      if (leaving) {
        const status = ResultStatus.ACCEPTED;
        send({ acks: unacked.splice(0).map((leaseToken) => ({ leaseToken, status })) });
      }
      frames.push(frame);
    });
    call.on("end", () => {
      if (options.farewell !== false) call.end();
    });
  };
}

type StreamParts = Pick<FakeStream, "frames" | "send" | "ended" | "cancelled">;

function fakeStream(call: WorkCall, hello: FakeStream["hello"], parts: StreamParts): FakeStream {
  const unacked: WorkRequest["results"] = [];
  return {
    ...parts,
    hello,
    headers: call.metadata,
    lease: (...leases) => parts.send({ leases }),
    end: (code, details) => endCall(call, code, details),
    async settle(status = ResultStatus.ACCEPTED) {
      if (unacked.length === 0) {
        const frame = await parts.frames.next("results", ({ results }) => results.length > 0);
        unacked.push(...frame.results);
      }
      const result = unacked.shift()!;
      parts.send({ acks: [{ leaseToken: result.leaseToken, status }] });
      return result;
    },
  };
}

function endCall(
  call: ServerDuplexStream<never, unknown> | WorkCall,
  code = 0,
  details = "",
  metadata?: Metadata,
): void {
  if (code === 0) return void call.end();
  call.emit("error", { code, details, ...(metadata ? { metadata } : {}) });
}

const duration = (ms: number) => ({
  seconds: BigInt(Math.floor(ms / 1000)),
  nanos: (ms % 1000) * 1e6,
});

function welcomeOf({ heartbeatMs, leaseMs }: FakeOptions, sessionId: string): Answer {
  return {
    welcome: {
      sessionId,
      coordinatorId: "fake",
      ...(heartbeatMs === undefined ? {} : { heartbeatInterval: duration(heartbeatMs) }),
      ...(leaseMs === undefined ? {} : { leaseDuration: duration(leaseMs) }),
    },
  };
}

function describeFrame({ results, progress, offer, heartbeat, leaving }: WorkRequest): string {
  const parts = [`${results.length} results`, `${progress.length} progress`];
  if (offer) parts.push(`offer ${offer.slots}`);
  if (heartbeat) parts.push(`heartbeat ${heartbeat.number}`);
  if (leaving) parts.push("leaving");
  return parts.join(", ");
}

function submitHandler(submits: Inbox<FakeSubmitStream>) {
  return (call: ServerDuplexStream<SubmitStreamRequest, unknown>): void => {
    const frames = createInbox<SubmitStreamRequest>(({ items }) => `${items.length} items`);
    call.on("error", () => undefined);
    call.on("data", (frame: SubmitStreamRequest) =>
      frames.push(create(SubmitStreamRequestSchema, frame)),
    );
    const ended = new Promise<void>((resolve) => {
      call.once("end", () => {
        call.end();
        resolve();
      });
    });
    submits.push({
      frames,
      ended,
      answer: (outcomes) =>
        void call.write(create(SubmitStreamResponseSchema, { outcomes: outcomes ?? [] })),
      end: (code, details, metadata) => endCall(call as never, code, details, metadata),
    });
  };
}
