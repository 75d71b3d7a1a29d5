import type { IncomingMessage, ServerResponse } from "node:http";
import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type JsonValue,
  type Message,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextValues,
  type ConnectRouter,
  type HandlerContext,
  type Interceptor,
  type ServiceImpl,
} from "@connectrpc/connect";
import {
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { breakOffKey } from "./context.js";
import { opaque, type MountedService } from "./contract.js";
import { readBody } from "./http-body.js";
import { toDroverError, type OnInternal } from "./interceptors/errors.js";
import { parseJson } from "./json-body.js";
import { httpStatus } from "./rest/errors.js";

/** Connect and gRPC-Web over HTTP/1.1 (no bidirectional streams: those need the gRPC port). */
export interface ConnectHandler {
  /** False: not a path of a service. */
  handle(request: IncomingMessage, response: ServerResponse): boolean;
}

export interface ConnectOptions {
  readonly services: readonly MountedService[];
  readonly interceptors: Interceptor[];
  readonly closing: AbortSignal;
  readonly onInternal: OnInternal;
}

export function createConnectHandler(options: ConnectOptions): ConnectHandler {
  const router: ConnectRouter = createConnectRouter({
    interceptors: options.interceptors,
    // Compressed requests are refused: no message is larger than 4 MiB, and none can grow on the
    // way in.
    acceptCompression: [],
    readMaxBytes: limits.messageBytes,
    writeMaxBytes: limits.messageBytes,
    shutdownSignal: options.closing,
  });
  for (const mounted of options.services) router.service(mounted.published, published(mounted));
  const handlers = new Map(router.handlers.map((it) => [it.requestPath, it]));
  return {
    handle(request, response) {
      const handler = handlers.get(request.url?.split("?", 1)[0] ?? "");
      if (!handler) return false;
      // Otherwise a caller that vanishes while a write waits pins the stream for ever: the wait
      // knows "drain" only.
      response.once("close", () => response.emit("drain"));
      serve(handler, request, response).catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(500).end();
        else response.destroy();
        if (ConnectError.from(error).code !== Code.Aborted)
          options.onInternal(error, handler.method.name);
      });
      return true;
    },
  };
}

async function serve(
  handler: UniversalHandler,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let json: JsonValue | undefined;
  if (isJson(request)) {
    try {
      json = await readJsonBody(request);
    } catch (thrown) {
      return sendError(response, toDroverError(thrown));
    }
  }
  const values = createContextValues();
  values.set(breakOffKey, () => response.destroy());
  const universal = universalRequestFromNodeRequest(request, response, json, values);
  await universalResponseToNodeResponse(await handler(universal), response);
}

const isJson = ({ method, headers }: IncomingMessage): boolean =>
  method === "POST" && /^application\/json\s*(?:;|$)/i.test(headers["content-type"] ?? "");

/** Connect would round what is beyond 2^53 and drop a key `__proto__` without a word. */
async function readJsonBody(request: IncomingMessage): Promise<JsonValue> {
  const bytes = await readBody(request);
  if (bytes.includes('"__proto__"')) {
    throw new DroverError("malformed_message", "the key __proto__ cannot be carried here", {
      hint: "Use gRPC or REST for it.",
    });
  }
  return parseJson(bytes) as JsonValue;
}

/** As Connect writes errors. */
function sendError(response: ServerResponse, error: DroverError): void {
  const code = Code[error.code] ?? "Unknown";
  const word = code.replace(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase();
  response.writeHead(httpStatus(error), {
    "content-type": "application/json",
    "drover-error-id": error.id,
  });
  response.end(JSON.stringify({ code: word, message: error.message }));
}

/** The same code behind the published messages: they and the opaque ones are equal on the wire. */
function published({
  published: service,
  implementation,
}: MountedService): ServiceImpl<typeof service> {
  const methods: Record<string, unknown> = {};
  for (const method of service.methods) {
    const run = implementation[method.localName];
    if (run !== undefined) methods[method.localName] = translate(method, run);
  }
  return methods as ServiceImpl<typeof service>;
}

type Init = Record<string, unknown>;
type AnyUnary = (request: Message, context: HandlerContext) => Promise<Init>;
type AnyStream = (request: unknown, context: HandlerContext) => AsyncIterable<Init>;

function translate(method: DescMethod, run: unknown): unknown {
  const input = (message: Message) => recode(method.input, opaque(method.input), message);
  const output = (init: Init) => {
    const desc = opaque(method.output);
    return recode(desc, method.output, create(desc, init));
  };
  if (method.methodKind === "unary") {
    return async (request: Message, context: HandlerContext) =>
      output(await (run as AnyUnary)(input(request), context));
  }
  const streams = method.methodKind !== "server_streaming";
  return async function* (request: unknown, context: HandlerContext) {
    const given = streams
      ? mapEach(request as AsyncIterable<Message>, input)
      : input(request as Message);
    yield* mapEach((run as AnyStream)(given, context), output);
  };
}

async function* mapEach<T, U>(source: AsyncIterable<T>, map: (item: T) => U): AsyncGenerator<U> {
  for await (const item of source) yield map(item);
}

const recode = (from: DescMessage, to: DescMessage, message: Message): Message =>
  from === to ? message : fromBinary(to, toBinary(from, message));
