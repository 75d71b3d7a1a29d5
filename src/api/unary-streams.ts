import type * as http2 from "node:http2";
import type * as grpc from "@grpc/grpc-js";
import { type Clock, timerMaxMs } from "../clock.js";
import { Http2UnaryCall } from "./http2-call.js";
import type { UnaryMethod } from "./unary-call.js";

type OnStream = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

/** What grpc-js has no public way to. */
interface Internals {
  readonly http2Servers?: ReadonlyMap<http2.Http2Server, unknown>;
  /** Counts the streams of a connection, for its idle timeout. */
  onStreamOpened?(stream: http2.ServerHttp2Stream): void;
}

const timeoutPattern = /^(\d{1,8})([HMSmun])$/;
const unitsMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/**
 * Serves plain calls of unary methods on their HTTP/2 streams (see Http2UnaryCall) and leaves all
 * others to grpc-js, as it does connections, pings and shutdown. Call once the server is bound.
 * Answers how many listeners that was done for: none if this grpc-js is built otherwise, and
 * everything still works.
 */
export function takeUnaryStreams(
  server: grpc.Server,
  methods: readonly UnaryMethod[],
  clock: Clock,
): number {
  const internals = server as unknown as Internals;
  if (!internals.http2Servers || !internals.onStreamOpened) return 0;
  const byPath = new Map(methods.map((method) => [method.path, method]));
  let taken = 0;
  for (const listening of internals.http2Servers.keys()) {
    const listeners = listening.listeners("stream") as OnStream[];
    const [general] = listeners;
    if (listeners.length !== 1 || !general) continue;
    listening.removeListener("stream", general);
    listening.on("stream", (stream, headers) => {
      const method = byPath.get(headers[":path"] ?? "");
      if (!method || !isPlain(headers)) return general(stream, headers);
      const timeoutMs = timeoutOf(headers);
      if (timeoutMs !== undefined && !(timeoutMs <= timerMaxMs)) return general(stream, headers);
      internals.onStreamOpened?.(stream);
      new Http2UnaryCall(stream, headers, method, clock, timeoutMs).start();
    });
    taken += 1;
  }
  return taken;
}

function isPlain(headers: http2.IncomingHttpHeaders): boolean {
  const encoding = headers["grpc-encoding"];
  if (encoding !== undefined && encoding !== "identity") return false;
  return headers["content-type"]?.startsWith("application/grpc") ?? false;
}

/** NaN for what is none. */
function timeoutOf(headers: http2.IncomingHttpHeaders): number | undefined {
  const text = headers["grpc-timeout"];
  if (text === undefined) return undefined;
  const match = timeoutPattern.exec(String(text));
  return match ? Math.trunc(Number(match[1]) * unitsMs[match[2]!]!) : Number.NaN;
}
