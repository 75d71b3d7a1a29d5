import { setMaxListeners } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { createConnectHandler } from "./connect.js";
import { sendEvents } from "./event-stream.js";
import { defaultGraceMs, type Door, type DoorOptions } from "./grpc.js";
import { readBody } from "./http-body.js";
import { errorText, type Reply } from "./rest/errors.js";
import { createRest, type Rest } from "./rest/rest.js";
import { createServices, interceptorsOf } from "./services.js";

export interface HttpDoorOptions extends DoorOptions {
  /** Pages and files of other parts (dashboard, metrics). True: it answers this request. */
  readonly others?: readonly ((request: IncomingMessage, response: ServerResponse) => boolean)[];
}

/** A request line and headers must arrive within this. */
const headersTimeoutMs = 10_000;
/** A whole request must arrive within this; answers may take longer. */
const requestTimeoutMs = 60_000;
const connectionsMax = 10_000;

/** Connect, gRPC-Web, REST, /openapi.json, /health and /ready over HTTP/1.1. */
export function createHttpDoor(options: HttpDoorOptions): Door {
  let server: Server | undefined;
  let port = 0;
  let closing = new AbortController();
  return {
    get port() {
      return port;
    },
    async start() {
      if (server) return;
      closing = new AbortController();
      // As many as there are calls.
      setMaxListeners(0, closing.signal);
      server = createServer(
        { headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs },
        listener(options, closing.signal),
      );
      server.maxConnections = connectionsMax;
      port = await listen(server, options);
    },
    async stop() {
      if (!server) return;
      const stopped = server;
      server = undefined;
      closing.abort(new ConnectError("the coordinator is stopping", Code.Unavailable));
      await shutdown(stopped, options);
      port = 0;
    },
  };
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

function listener(options: HttpDoorOptions, closing: AbortSignal): Listener {
  const services = createServices(options);
  const interceptors = interceptorsOf(options);
  const { onInternal, others = [], coordinator, clock } = options;
  const connect = createConnectHandler({ services, interceptors, closing, onInternal });
  const rest = createRest(services, interceptors);
  const openapi = readFileSync(new URL("../../gen/openapi.json", import.meta.url), "utf8");
  return (request, response) => {
    if (closing.aborted) response.setHeader("connection", "close");
    const url = parseUrl(request.url ?? "");
    if (!url) return send(response, badUrl);
    const page = pageReply(url.pathname, { coordinator, openapi });
    if (page) return send(response, isRead(request) ? page : onlyGet);
    if (connect.handle(request, response)) return;
    if (others.some((other) => other(request, response))) return;
    answerRest({ rest, clock, closing }, request, response, url).catch((error: unknown) => {
      onInternal(error, url.pathname);
      response.destroy();
    });
  };
}

function parseUrl(text: string): URL | undefined {
  // Only paths: "//host/x" would otherwise change the host, "*" is no resource.
  if (!text.startsWith("/") || text.startsWith("//")) return undefined;
  return URL.canParse(text, "http://drover") ? new URL(text, "http://drover") : undefined;
}

const badUrl: Reply = {
  status: 400,
  body: errorText({ code: "malformed_message", message: "expected a path beginning with /" }),
};

const isRead = ({ method }: IncomingMessage): boolean => method === "GET" || method === "HEAD";

const onlyGet: Reply = {
  status: 405,
  headers: { allow: "GET" },
  body: errorText({ code: "method_not_allowed", message: "expected GET" }),
};

interface PageParts {
  readonly coordinator: Coordinator;
  readonly openapi: string;
}

/** /health: the process lives. /ready: it takes submissions, and what else does not work. */
function pageReply(path: string, { coordinator, openapi }: PageParts): Reply | undefined {
  if (path === "/openapi.json") return { status: 200, body: openapi };
  if (path === "/health") return { status: 200, body: JSON.stringify({ status: "ok" }) };
  if (path !== "/ready") return undefined;
  const reason = coordinator.notReady();
  return reason === undefined
    ? { status: 200, body: JSON.stringify({ status: "ready", degraded: coordinator.degraded() }) }
    : { status: 503, body: JSON.stringify({ status: "not ready", reason }) };
}

interface RestParts {
  readonly rest: Rest;
  readonly clock: Clock;
  readonly closing: AbortSignal;
}

async function answerRest(
  { rest, clock, closing }: RestParts,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort(new ConnectError("the caller is gone", Code.Canceled)));
  const reply = await rest.answer({
    verb: request.method ?? "GET",
    path: url.pathname,
    query: url.searchParams,
    headers: new Headers(
      Object.entries(request.headersDistinct).flatMap(([name, values = []]) =>
        values.map((value): [string, string] => [name, value]),
      ),
    ),
    signal: gone.signal,
    closing,
    body: () => readBody(request),
  });
  if ("events" in reply) {
    await sendEvents(response, reply, { clock, reply: (it) => send(response, it) });
  } else send(response, reply);
  // A body nobody asked for must not block the connection.
  request.resume();
}

function send(response: ServerResponse, { status, body, headers }: Reply): void {
  if (response.destroyed) return;
  response.writeHead(status, {
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...headers,
  });
  response.end(body);
}

function listen(server: Server, { host, port }: DoorOptions): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** Stops listening, lets calls end, then breaks off what is left. */
function shutdown(server: Server, { clock, graceMs }: DoorOptions): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(graceMs ?? defaultGraceMs, () => server.closeAllConnections());
    server.close(() => {
      timer.cancel();
      resolve();
    });
  });
}
