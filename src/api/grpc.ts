import { setMaxListeners } from "node:events";
import * as grpc from "@grpc/grpc-js";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Authenticate } from "../auth/open.js";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { limits } from "../limits.js";
import type { Service } from "../service.js";
import { addService } from "./grpc-adapter.js";
import type { OnInternal } from "./interceptors/errors.js";
import { createServices, interceptorsOf } from "./services.js";
import { takeUnaryStreams } from "./unary-streams.js";

/** What both doors need. */
export interface DoorOptions {
  readonly coordinator: Coordinator;
  readonly authenticate: Authenticate;
  readonly clock: Clock;
  /** Address to listen on, e.g. 127.0.0.1. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Hears of defects, with their cause. */
  readonly onInternal: OnInternal;
  /** How long `stop` waits for calls under way before it breaks them off. Default 3,000 ms. */
  readonly graceMs?: number;
}

export interface Door extends Service {
  /** The port it listens on; 0 before `start`. */
  readonly port: number;
}

export const defaultGraceMs = 3_000;
/** Per connection; more wait at the client. */
const concurrentStreams = 1_000;
/** A connection without calls is closed after this long: some libraries never close theirs. */
const idleConnectionMs = 600_000;

const channelOptions: grpc.ServerOptions = {
  "grpc.max_receive_message_length": limits.messageBytes,
  "grpc.max_send_message_length": limits.messageBytes,
  "grpc.keepalive_time_ms": limits.pingIntervalMs,
  "grpc.keepalive_timeout_ms": limits.pingTimeoutMs,
  "grpc.keepalive_permit_without_calls": 1,
  "grpc.max_concurrent_streams": concurrentStreams,
  "grpc.max_connection_idle_ms": idleConnectionMs,
  "grpc.enable_channelz": 0,
};

/**
 * gRPC over HTTP/2: TaskService, WorkerService, QueueService, AdminService, reflection and health.
 */
export function createGrpcDoor(options: DoorOptions): Door {
  let server: grpc.Server | undefined;
  let closing = new AbortController();
  let port = 0;
  return {
    get port() {
      return port;
    },
    async start() {
      if (server) return;
      closing = new AbortController();
      // As many as there are streams.
      setMaxListeners(0, closing.signal);
      const fresh = new grpc.Server(channelOptions);
      const adapter = {
        ...options,
        interceptors: interceptorsOf(options),
        closing: closing.signal,
      };
      const unary = createServices(options).flatMap((it) => addService(fresh, it, adapter));
      port = await bind(fresh, options);
      takeUnaryStreams(fresh, unary, options.clock);
      server = fresh;
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

function bind(server: grpc.Server, { host, port }: DoorOptions): Promise<number> {
  const address = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(systemError(error)) : resolve(bound),
    );
  });
}

/** grpc-js quotes the system's error in its own; whoever is to mend it looks for its code. */
function systemError(error: Error): Error {
  const [, message, code] = /\[(listen (E[A-Z]+): [^\]]+)/.exec(error.message) ?? [];
  return code ? Object.assign(new Error(message, { cause: error }), { code }) : error;
}

/** Stops listening, lets calls end, then breaks off what is left. */
function shutdown(server: grpc.Server, { clock, graceMs }: DoorOptions): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(graceMs ?? defaultGraceMs, () => {
      server.forceShutdown();
      resolve();
    });
    server.tryShutdown(() => {
      timer.cancel();
      resolve();
    });
  });
}
