import type * as http2 from "node:http2";
import type * as grpc from "@grpc/grpc-js";
import { limits } from "../limits.js";
import { MessageCutter, readInstead } from "../wire/messages.js";

/** What grpc-js has no public way to: a call, over its HTTP/2 stream. */
interface Internals {
  readonly call?: {
    readonly stream?: http2.ServerHttp2Stream;
    /** Messages and ends that nobody has read yet. */
    readonly readQueue?: readonly unknown[];
    /** Somebody has asked for one. */
    readonly isReadPending?: boolean;
    readonly incomingEncoding?: string;
  };
}

/**
 * The HTTP/2 stream of a call nobody has read from yet, without grpc-js, whose layers cost a lone
 * message more than the network does; undefined where grpc-js has to read what is compressed, or is
 * built otherwise. Calls `onMessage` with every message. Head, status, cancelling, pings and the
 * connection stay with grpc-js, and a message that is too long goes back to it to be refused.
 */
export function takeOver(
  call: grpc.ServerDuplexStream<Buffer, Buffer>,
  onMessage: (bytes: Buffer) => void,
): http2.ServerHttp2Stream | undefined {
  const { call: inner } = call as unknown as Internals;
  const stream = inner?.stream;
  if (!stream || inner.readQueue?.length !== 0 || inner.isReadPending !== false) return undefined;
  if (inner.incomingEncoding !== "identity" || stream.destroyed) return undefined;
  const cutter = new MessageCutter(limits.messageBytes, "ignored");
  if (!readInstead(stream, cutter, onMessage)) return undefined;
  stream.resume();
  return stream;
}
