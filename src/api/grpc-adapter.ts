import { create, toBinary, type DescMethod, type Message } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import {
  Code,
  ConnectError,
  createContextValues,
  createHandlerContext,
  createServiceImplSpec,
  type Interceptor,
  type MethodImplSpec,
  type ServiceImpl,
} from "@connectrpc/connect";
import {
  invokeUnaryImplementation,
  transformInvokeImplementation,
} from "@connectrpc/connect/protocol";
import * as grpc from "@grpc/grpc-js";
import { StatusSchema } from "../../gen/google/rpc/status_pb.js";
import type { Authenticate } from "../auth/open.js";
import { type Clock, timerMaxMs } from "../clock.js";
import { breakOffKey, checkNamespace } from "./context.js";
import type { DirectMethods, MountedService } from "./contract.js";
import { decode, encode } from "./codec.js";
import { GrpcRawStream, rawStreamKey } from "./raw-stream.js";
import { type OnInternal, toCallError, toConnectError, wellFormed } from "./interceptors/errors.js";
import { DroverError } from "../errors.js";
import { asText, type CallOrigin, textOf, type UnaryMethod } from "./unary-call.js";

/**
 * Mounts Connect implementations on a grpc-js server: twice as cheap as connect-node, with
 * keepalive and drain.
 */

export interface AdapterOptions {
  readonly clock: Clock;
  /** For direct methods, which pass no interceptor. */
  readonly authenticate: Authenticate;
  readonly onInternal: OnInternal;
  readonly interceptors: Interceptor[];
  /** Aborted when the door closes: streams end, unary calls go on. */
  readonly closing: AbortSignal;
}

type StreamCall = grpc.ServerDuplexStream<Buffer, Buffer>;
type Context = ReturnType<typeof createHandlerContext>;

/** Bytes handed to HTTP/2 and not yet flushed; grpc-js itself counts messages, 16 of any size. */
const inFlightBytes = 128 * 1024;
/** HTTP/2 error that gRPC libraries report as RESOURCE_EXHAUSTED. */
const enhanceYourCalm = 11;

/** The unary methods of the service, which can be served past grpc-js too. */
export function addService(
  server: grpc.Server,
  { service, implementation, direct }: MountedService,
  options: AdapterOptions,
): UnaryMethod[] {
  const spec = createServiceImplSpec(service, implementation as ServiceImpl<typeof service>);
  const definition: Record<string, grpc.MethodDefinition<Buffer, Buffer>> = {};
  const handlers: grpc.UntypedServiceImplementation = {};
  const unary: UnaryMethod[] = [];
  for (const method of Object.values(spec.methods)) {
    const { name, localName, methodKind } = method.method;
    // Messages pass as bytes: grpc-js would answer INTERNAL for what cannot be decoded.
    definition[localName] = {
      path: `/${service.typeName}/${name}`,
      requestStream: methodKind === "bidi_streaming" || methodKind === "client_streaming",
      responseStream: methodKind === "bidi_streaming" || methodKind === "server_streaming",
      requestSerialize: (bytes) => bytes,
      requestDeserialize: (bytes) => bytes,
      responseSerialize: (bytes) => bytes,
      responseDeserialize: (bytes) => bytes,
    };
    if (method.kind !== "unary") {
      handlers[localName] = streamHandler(method, options);
      continue;
    }
    const run = direct[localName];
    const one = run ? directMethod(method.method, run, options) : unaryMethod(method, options);
    handlers[localName] = unaryHandler(one);
    unary.push(one);
  }
  server.addService(definition, handlers);
  return unary;
}

/** The same method by way of grpc-js, for calls that are not plain. */
function unaryHandler(method: UnaryMethod): grpc.handleUnaryCall<Buffer, Buffer> {
  return (call, reply) => {
    const headers = { get: (name: string) => textOf(call.metadata, name) };
    const asked = Object.assign(originOf(call), { request: call.request, headers });
    method.serve(asked).then(
      ({ bytes, header, trailer }) => {
        if (header) call.sendMetadata(header);
        reply(null, bytes, trailer);
      },
      (thrown: unknown) => reply(method.refusal(thrown)),
    );
  };
}

const pathOf = ({ parent, name }: DescMethod): string => `/${parent.typeName}/${name}`;

function unaryMethod(
  spec: MethodImplSpec & { kind: "unary" },
  options: AdapterOptions,
): UnaryMethod {
  const { method } = spec;
  return {
    path: pathOf(method),
    refusal: toStatus,
    async serve(call) {
      const context = contextOf(method, call, options, undefined);
      try {
        const request = decode(method, call.request);
        const { interceptors } = options;
        const response = await invokeUnaryImplementation(spec, context, request, interceptors);
        return {
          bytes: encode(method, response),
          header: toSomeMetadata(context.responseHeader),
          trailer: toSomeMetadata(context.responseTrailer),
        };
      } finally {
        context.abort();
      }
    },
  };
}

/** Its deadline is kept by its transport; what was begun goes on to its end. */
function directMethod(
  method: DescMethod,
  run: DirectMethods[string],
  { authenticate, onInternal }: AdapterOptions,
): UnaryMethod {
  const name = pathOf(method).slice(1);
  return {
    path: pathOf(method),
    refusal: (thrown) => toStatus(toCallError(thrown, name, onInternal)),
    async serve({ headers, request }) {
      const { namespace } = await authenticate(headers);
      return { bytes: await run(request, { namespace: checkNamespace(namespace), headers }) };
    },
  };
}

function streamHandler(
  spec: MethodImplSpec,
  options: AdapterOptions,
): grpc.handleBidiStreamingCall<Buffer, Buffer> {
  const invoke = (context: Context, requests: AsyncIterable<Message>) =>
    transformInvokeImplementation(spec, context, options.interceptors)(requests);
  const run = async (call: StreamCall) => {
    const context = contextOf(spec.method, originOf(call), options, options.closing);
    context.values.set(breakOffKey, (reason) => {
      context.abort(reason);
      resetStream(call);
    });
    context.values.set(rawStreamKey, new GrpcRawStream(call));
    try {
      const writer = new Writer(call, context.signal);
      for await (const response of invoke(context, requestsOf(spec.method, call))) {
        await writer.write(encode(spec.method, response));
      }
      call.end(toMetadata(context.responseTrailer));
    } catch (thrown) {
      call.emit("error", toStatus(thrown));
    } finally {
      context.abort();
    }
  };
  return (call) => void run(call);
}

async function* requestsOf(method: DescMethod, call: StreamCall): AsyncGenerator<Message> {
  const single = (call as unknown as { readonly request?: Buffer }).request;
  if (single) {
    yield decode(method, single);
    return;
  }
  for await (const bytes of messagesOf(call)) yield decode(method, bytes);
}

/**
 * Not the stream's own iterator: that destroys the whole duplex on the error event by which grpc-js
 * is told a status, and what was written before would be lost with the status. A call that is cut
 * off just ends; its signal says why.
 */
async function* messagesOf(call: StreamCall): AsyncGenerator<Buffer> {
  let ended = false;
  let wake = (): void => undefined;
  const end = () => {
    ended = true;
    wake();
  };
  call.on("readable", () => wake());
  call.once("end", end);
  call.once("close", end);
  for (;;) {
    const bytes = call.read() as Buffer | null;
    if (bytes) yield bytes;
    else if (ended) return;
    else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}

/** Keeps what HTTP/2 has not flushed within a bound, so that a slow peer is felt at once. */
class Writer {
  readonly #call: StreamCall;
  readonly #signal: AbortSignal;
  #inFlight = 0;
  #flushed: (() => void) | undefined;

  constructor(call: StreamCall, signal: AbortSignal) {
    this.#call = call;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#flushed?.(), { once: true });
  }

  async write(bytes: Buffer): Promise<void> {
    this.#signal.throwIfAborted();
    this.#inFlight += bytes.length;
    this.#call.write(bytes, () => {
      this.#inFlight -= bytes.length;
      if (this.#inFlight < inFlightBytes) this.#flushed?.();
    });
    if (this.#inFlight < inFlightBytes) return;
    await new Promise<void>((resolve) => {
      this.#flushed = resolve;
    });
    this.#flushed = undefined;
    this.#signal.throwIfAborted();
  }
}

const originOf = (call: grpc.ServerUnaryCall<Buffer, Buffer> | StreamCall): CallOrigin => ({
  metadata: call.metadata,
  host: call.getHost(),
  deadline: Number(call.getDeadline()),
  onCancelled: (listener) => void call.on("cancelled", listener),
});

function contextOf(
  method: DescMethod,
  call: CallOrigin,
  { clock }: AdapterOptions,
  closing: AbortSignal | undefined,
): Context {
  const gone = new AbortController();
  call.onCancelled(() => gone.abort(new ConnectError("the caller is gone", Code.Canceled)));
  const timeoutMs = call.deadline - clock.now();
  return createHandlerContext({
    service: method.parent,
    method,
    protocolName: "grpc",
    requestMethod: "POST",
    url: `http://${call.host}${pathOf(method)}`,
    requestHeader: toHeaders(call.metadata),
    requestSignal: gone.signal,
    contextValues: createContextValues(),
    ...(timeoutMs < timerMaxMs && { timeoutMs }),
    ...(closing && { shutdownSignal: closing }),
  });
}

function toHeaders(metadata: grpc.Metadata): Headers {
  const headers = new Headers();
  for (const [key, value] of Object.entries(metadata.getMap())) headers.set(key, asText(value));
  return headers;
}

function toMetadata(headers: Headers): grpc.Metadata {
  const metadata = new grpc.Metadata();
  headers.forEach((value, key) => {
    metadata.set(key, key.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  });
  return metadata;
}

/** Undefined for none, as most calls have. */
function toSomeMetadata(headers: Headers): grpc.Metadata | undefined {
  return headers.keys().next().done ? undefined : toMetadata(headers);
}

/**
 * What a call ends with: the code, the message, and the details every gRPC library knows how to
 * read.
 */
function toStatus(thrown: unknown): grpc.ServerErrorResponse {
  const error =
    thrown instanceof DroverError
      ? toConnectError(thrown)
      : ConnectError.from(thrown, Code.Internal);
  const message = wellFormed(error.rawMessage);
  const metadata = toMetadata(error.metadata);
  const details = error.details.flatMap((it) =>
    "desc" in it ? [anyPack(it.desc, create(it.desc, it.value))] : [],
  );
  if (details.length > 0) {
    const status = create(StatusSchema, { code: error.code, message, details });
    metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, status)));
  }
  const code = error.code as number as grpc.status;
  return { name: "ServiceError", message, code, details: message, metadata };
}

/**
 * grpc-js sends a status only after everything written before it, which a peer that does not read
 * never takes. Resetting the HTTP/2 stream frees that memory; grpc-js has no public way to it.
 */
function resetStream(call: StreamCall): void {
  const inner = (call as unknown as { call?: { stream?: { close?(code: number): void } } }).call;
  inner?.stream?.close?.(enhanceYourCalm);
}
