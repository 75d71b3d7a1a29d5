import {
  type ChannelCredentials,
  Client,
  type ClientOptions,
  connectivityState,
  credentials,
  Metadata,
} from "@grpc/grpc-js";
import type { Clock } from "../clock.js";
import { limits } from "../limits.js";

export type { ChannelCredentials } from "@grpc/grpc-js";

/**
 * Sent with every call, e.g. `{ authorization: "Bearer ..." }`. A function is asked anew for each
 * call.
 */
export type Headers = Readonly<Record<string, string>> | (() => Readonly<Record<string, string>>);

export interface ChannelOptions {
  /** Default: plain text. */
  credentials?: ChannelCredentials | undefined;
  headers?: Headers | undefined;
  clock: Clock;
}

/** One connection to one coordinator. */
export interface Channel {
  readonly address: string;
  readonly client: Client;
  /**
   * Resolves once calls can be sent; rejects when the address refuses, does not answer in 5 s, or
   * on the signal.
   */
  connect(signal?: AbortSignal): Promise<void>;
  metadata(): Metadata;
  close(): void;
}

const connectMs = limits.pingTimeoutMs;

const clientOptions: ClientOptions = {
  // Without a pool of its own, a "new" channel would ride on the connection that is being left.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.keepalive_time_ms": limits.pingIntervalMs,
  "grpc.keepalive_timeout_ms": limits.pingTimeoutMs,
  // What a call is to do again is decided by the SDK; grpc-js would keep a copy of every frame.
  "grpc.enable_retries": 0,
  // A whole frame of leases arrives without waiting for the window.
  "grpc-node.flow_control_window": limits.frameBytes,
  "grpc.max_receive_message_length": limits.messageBytes,
  "grpc.max_send_message_length": limits.messageBytes,
  // One name may stand for many coordinators; the first of the list would get everybody.
  "grpc.service_config": JSON.stringify({
    loadBalancingConfig: [{ pick_first: { shuffleAddressList: true } }],
  }),
};

export function openChannel(address: string, options: ChannelOptions): Channel {
  const client = new Client(
    address,
    options.credentials ?? credentials.createInsecure(),
    clientOptions,
  );
  let closed = false;
  return {
    address,
    client,
    connect: (signal) =>
      closed ? Promise.reject(closedError(address)) : ready(client, address, options.clock, signal),
    metadata: () => metadataOf(options.headers),
    close() {
      if (closed) return;
      closed = true;
      client.close();
    },
  };
}

const closedError = (address: string) => new Error(`the connection to ${address} is closed`);

function ready(client: Client, address: string, clock: Clock, signal?: AbortSignal): Promise<void> {
  const channel = client.getChannel();
  if (channel.getConnectivityState(false) === connectivityState.READY) return Promise.resolve();
  return new Promise((resolve, reject) => {
    let finished = false;
    const finish = (error?: Error): void => {
      if (finished) return;
      finished = true;
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      if (error) reject(error);
      else resolve();
    };
    const onAbort = (): void => finish(signal?.reason as Error);
    const timer = clock.after(connectMs, () =>
      finish(new Error(`no connection to ${address} within ${connectMs} ms`)),
    );
    const look = (): void => {
      if (finished) return;
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) return finish();
      if (state === connectivityState.SHUTDOWN) return finish(closedError(address));
      if (state === connectivityState.TRANSIENT_FAILURE) {
        return finish(new Error(`no connection to ${address}: it refuses or cannot be reached`));
      }
      channel.watchConnectivityState(state, Infinity, look);
    };
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    look();
  });
}

function metadataOf(headers: Headers | undefined): Metadata {
  const metadata = new Metadata();
  const entries = typeof headers === "function" ? headers() : (headers ?? {});
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}
