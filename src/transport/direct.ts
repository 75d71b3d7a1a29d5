import type * as http2 from "node:http2";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { limits } from "../limits.js";
import { framed, MessageCutter, readInstead } from "../wire/messages.js";

/** What grpc-js has no public way to: the layers of a call, down to its HTTP/2 stream. */
interface Layer {
  readonly call?: Layer | null;
  readonly child?: Layer | null;
  readonly underlyingCalls?: readonly { readonly call?: Layer }[];
  readonly http2Stream?: http2.ClientHttp2Stream;
  /** Asked for the next message, and nothing stands between that and the stream. */
  readonly canPush?: boolean;
  readonly unpushedReadMessages?: readonly unknown[];
  /** 0: between two messages. */
  readonly decoder?: { readonly readState?: number };
  cancelWithStatus?(code: number, details: string): void;
}

export interface DirectEvents {
  /** Answers what is wrong with it, if anything is. */
  readonly onMessage: (bytes: Buffer) => void;
  readonly onWritable: () => void;
}

/** An open call's messages, straight on its HTTP/2 stream. */
export interface Direct {
  /** False: the peer takes too little; `onWritable` follows. */
  write(message: Uint8Array): boolean;
  /** Ends the call with this status. */
  cancel(code: number, details: string): void;
}

/** More layers than any grpc-js has. */
const layersMax = 10;
/** Messages handed to HTTP/2 and not yet flushed. */
const messagesMax = 16;

/**
 * Takes over reading and writing of messages from grpc-js, whose layers cost a lone message more
 * than the network does: ten calls, six promises and two ticks each way. Head, end, status,
 * cancelling, pings and the connection stay with it, and what is compressed or too long goes back
 * to it. Undefined while messages are under way, and for ever where this grpc-js is built
 * otherwise: all works as well without.
 */
export function takeOver<Request, Answer>(
  call: ClientDuplexStream<Request, Answer>,
  events: DirectEvents,
): Direct | undefined {
  const { call: top } = call as unknown as Layer;
  const bottom = bottomOf(top);
  const stream = bottom?.http2Stream;
  if (!bottom || !stream || !isIdle(bottom)) return undefined;
  if (call.writableLength > 0 || stream.destroyed) return undefined;
  const cutter = new MessageCutter(limits.messageBytes, "heeded");
  if (!readInstead(stream, cutter, events.onMessage)) return undefined;
  return {
    write: writerOf(stream, events.onWritable),
    cancel: (code, details) => top?.cancelWithStatus?.(code, details),
  };
}

/** Counts messages as grpc-js does: HTTP/2's own bound is less than one frame of a bulk submit. */
function writerOf(stream: http2.ClientHttp2Stream, onWritable: () => void): Direct["write"] {
  let waiting = 0;
  let full = false;
  const onFlushed = (error?: Error | null): void => {
    waiting -= 1;
    if (!full || error) return;
    full = false;
    onWritable();
  };
  return (message) => {
    waiting += 1;
    full = waiting >= messagesMax;
    stream.write(framed(message), onFlushed);
    return !full;
  };
}

function bottomOf(top: Layer | null | undefined): Layer | undefined {
  let layer = top;
  for (let depth = 0; layer && depth < layersMax; depth += 1) {
    if (layer.http2Stream) return layer;
    layer = layer.call ?? layer.child ?? layer.underlyingCalls?.at(-1)?.call;
  }
  return undefined;
}

const isIdle = ({ canPush, unpushedReadMessages, decoder }: Layer): boolean =>
  canPush === true && unpushedReadMessages?.length === 0 && decoder?.readState === 0;
