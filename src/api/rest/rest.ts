import { create, type DescMethod, type Message } from "@bufbuild/protobuf";
import {
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
import { DroverError } from "../../errors.js";
import { refuse } from "../../task/rules.js";
import { opaque, type MountedService } from "../contract.js";
import { toDroverError } from "../interceptors/errors.js";
import { parseJson } from "../json-body.js";
import { errorReply, errorText, type EventReply, type Reply } from "./errors.js";
import { findField, putAt, readMessage, type Init } from "./read-plain.js";
import { compileRoutes, matchRoute, type Route } from "./routes.js";
import { writeMessage, writeOnly } from "./write-plain.js";

/** What of an HTTP request matters here. */
export interface RestRequest {
  readonly verb: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly signal: AbortSignal;
  /** Aborted when the door closes: streams end. */
  readonly closing: AbortSignal;
  /** Read only once a route matches. */
  body(): Promise<Buffer>;
}

export interface Rest {
  readonly routes: readonly Route[];
  /** Never rejects. */
  answer(request: RestRequest): Promise<Reply | EventReply>;
}

/**
 * REST made of the google.api.http annotations: no route of its own, the same services and
 * interceptors as gRPC.
 */
export function createRest(mounted: readonly MountedService[], interceptors: Interceptor[]): Rest {
  const specs = new Map<string, MethodImplSpec>();
  for (const { service, implementation } of mounted) {
    const spec = createServiceImplSpec(service, implementation as ServiceImpl<typeof service>);
    for (const it of Object.values(spec.methods)) specs.set(keyOf(it.method), it);
  }
  const routes = [
    ...mounted.flatMap((it) => compileRoutes(it.published)),
    ...enqueueRoutes(mounted),
  ];
  const call = (method: DescMethod, message: Message, request: RestRequest) =>
    invoke(specs.get(keyOf(method))!, message, request, interceptors);
  const eventsOf = (route: Route, message: Message, request: RestRequest): EventReply => {
    const spec = specs.get(keyOf(route.method))!;
    const responses = stream(spec, message, request, interceptors);
    return { events: eventTexts(route, responses), resumed: cursorOf(message) !== "" };
  };
  return {
    routes,
    async answer(request) {
      const match = matchRoute(routes, verbOf(request), request.path);
      if (match.kind === "unknown") return notFound(request.path);
      if (match.kind === "wrong_verb") return wrongVerb(request.verb, match.allowed);
      try {
        const message = await readRequest(match.route, match.values, request);
        if (isStream(match.route)) return eventsOf(match.route, message, request);
        return {
          status: 200,
          body: writeReply(match.route, await call(match.route.method, message, request)),
        };
      } catch (thrown) {
        return errorReply(toDroverError(thrown));
      }
    },
  };
}

const keyOf = (method: DescMethod): string => `${method.parent.typeName}/${method.name}`;

const verbOf = ({ verb }: RestRequest): string => (verb === "HEAD" ? "GET" : verb);

const enqueuePath = "/task";

/** `POST /task`, the one route with a reply of its own: an adapter over SubmitTask. */
const enqueueRoutes = (mounted: readonly MountedService[]): Route[] =>
  mounted.flatMap(({ published }) =>
    published.methods
      .filter((method) => method.name === "SubmitTask")
      .map((method) => ({
        verb: "POST",
        template: enqueuePath,
        pattern: /^\/task$/,
        variables: [],
        method,
        body: "task",
        responseBody: "",
      })),
  );

async function readRequest(
  route: Route,
  values: readonly string[],
  request: RestRequest,
): Promise<Message> {
  const desc = opaque(route.method.input);
  const init = readBodyInit(route, await readJson(route, request));
  for (const name of new Set(request.query.keys())) {
    const texts = request.query.getAll(name).filter((text) => text !== "");
    checkQueryName(route, name);
    // Looked up even when empty: a misspelt filter would otherwise match everything.
    findField(desc, name.split(".")[0]!, "");
    if (texts.length > 0) putAt(desc, init, name, texts);
  }
  const lastEvent = isStream(route) ? request.headers.get("last-event-id") : undefined;
  if (lastEvent) putAt(desc, init, "cursor", [lastEvent]);
  for (const [index, name] of route.variables.entries()) {
    putPathValue(desc, init, name, decodeSegment(values[index]!));
  }
  return create(desc, init);
}

async function readJson(route: Route, request: RestRequest): Promise<unknown> {
  const encoding = request.headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") {
    throw new DroverError("malformed_message", `expected an uncompressed body, got ${encoding}`);
  }
  const bytes = await request.body();
  if (bytes.length === 0) return undefined;
  if (route.body !== "") return parseJson(bytes);
  if (bytes.toString("latin1", 0, 16).replace(/\s/g, "") === "{}") return undefined;
  return refuse("body", "no body with this request", `${bytes.length} bytes`);
}

function readBodyInit(route: Route, json: unknown): Init {
  if (json === undefined) return {};
  const desc = opaque(route.method.input);
  if (route.body === "*") return readMessage(desc, json, "");
  const field = findField(desc, route.body, "");
  if (field.fieldKind !== "message") throw new DroverError("internal", `body ${route.body}`);
  return { [field.localName]: create(field.message, readMessage(field.message, json, field.name)) };
}

function checkQueryName(route: Route, name: string): void {
  const first = name.split(".")[0]!;
  if (route.body === "*" || first === route.body) {
    refuse(name.slice(0, 64), "it in the body", "a query parameter");
  }
}

/** The path decides; a body that says something else is a mistake. */
function putPathValue(desc: Parameters<typeof putAt>[0], init: Init, name: string, text: string) {
  const before = valueAt(init, name);
  if (typeof before === "string" && before !== "" && before !== text) {
    refuse(name, `the same as in the path (${text.slice(0, 60)})`, before);
  }
  putAt(desc, init, name, [text]);
}

const valueAt = (init: Init, dotted: string): unknown =>
  dotted.split(".").reduce<unknown>((at, name) => (at as Init | undefined)?.[name], init);

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return refuse("path", "percent-encoded UTF-8", segment);
  }
}

const isStream = ({ method }: Route): boolean => method.methodKind === "server_streaming";

const cursorOf = (message: Message): string =>
  (message as { readonly cursor?: string }).cursor ?? "";

async function invoke(
  spec: MethodImplSpec,
  message: Message,
  request: RestRequest,
  interceptors: Interceptor[],
): Promise<Message> {
  if (spec.kind !== "unary") throw new DroverError("unimplemented", "not a unary call");
  const context = contextOf(spec, request);
  try {
    return await invokeUnaryImplementation(spec, context, message, interceptors);
  } finally {
    context.abort();
  }
}

async function* stream(
  spec: MethodImplSpec,
  message: Message,
  request: RestRequest,
  interceptors: Interceptor[],
): AsyncGenerator<Message> {
  const context = contextOf(spec, request, request.closing);
  const requests = (async function* () {
    yield message;
  })();
  try {
    yield* transformInvokeImplementation(spec, context, interceptors)(requests);
  } finally {
    context.abort();
  }
}

function contextOf(spec: MethodImplSpec, request: RestRequest, closing?: AbortSignal) {
  return createHandlerContext({
    service: spec.method.parent,
    method: spec.method,
    protocolName: "rest",
    requestMethod: request.verb,
    url: `http://rest${request.path}`,
    requestHeader: request.headers,
    requestSignal: request.signal,
    contextValues: createContextValues(),
    ...(closing && { shutdownSignal: closing }),
  });
}

/** `event` is the member of the message's oneof, `id` the cursor, `data` the message. */
async function* eventTexts(
  route: Route,
  responses: AsyncIterable<Message>,
): AsyncGenerator<string> {
  const desc = opaque(route.method.output);
  for await (const response of responses) {
    const { event } = response as unknown as { readonly event?: { readonly case?: string } };
    const data = writeMessage(desc, response);
    yield `event: ${event?.case ?? "message"}\nid: ${cursorOf(response)}\ndata: ${data}\n\n`;
  }
}

function writeReply(route: Route, response: Message): string {
  if (route.template === enqueuePath) {
    const { taskId } = response as unknown as { readonly taskId: string };
    return JSON.stringify({ message: "Task enqueued", id: taskId });
  }
  const desc = opaque(route.method.output);
  if (route.responseBody === "") return writeMessage(desc, response);
  return writeOnly(findField(desc, route.responseBody, ""), response);
}

const notFound = (path: string): Reply => ({
  status: 404,
  body: errorText({
    code: "route_not_found",
    message: `there is nothing at ${path.slice(0, 200)}`,
    hint: "The REST API is under /api/v1, e.g. /api/v1/tasks.",
  }),
});

const wrongVerb = (verb: string, allowed: readonly string[]): Reply => ({
  status: 405,
  headers: { allow: allowed.join(", ") },
  body: errorText({
    code: "method_not_allowed",
    message: `expected ${allowed.join(" or ")}, got ${verb.slice(0, 20)}`,
  }),
});
