import type * as http2 from "node:http2";
import * as grpc from "@grpc/grpc-js";
import { createContextKey, type HandlerContext } from "@connectrpc/connect";
import { DroverError } from "../errors.js";
import { framed } from "../wire/messages.js";
import { takeOver } from "./direct-stream.js";

/** Bytes handed to HTTP/2 and not yet flushed; grpc-js itself counts messages, 16 of any size. */
const inFlightBytes = 128 * 1024;

export interface RawEvents {
  /** What it throws goes to `onFailure`. */
  onMessage(bytes: Buffer): void;
  /** The peer has half-closed, or is gone. Once. */
  onEnd(): void;
  onFailure(error: unknown): void;
  /** `writable` was false and is true again. */
  onWritable(): void;
}

/**
 * A bidirectional call as encoded messages and events: no promise and no iterator a frame. Hot
 * streams are served over it, all others as iterables of messages.
 */
export interface RawStream {
  /** Begins to read. Call once. */
  listen(events: RawEvents): void;
  /** False while the peer takes too little: what is written all the same waits in memory. */
  readonly writable: boolean;
  write(bytes: Buffer): void;
  /** Reads no further until `resume`; a message that is on its way may still come. */
  pause(): void;
  resume(): void;
}

/** Set by the gRPC door for bidirectional calls. */
export const rawStreamKey = createContextKey<RawStream | undefined>(undefined, {
  description: "raw stream",
});

/** Throws where a call came through a door without bidirectional streams. */
export function rawStreamOf({ values }: Pick<HandlerContext, "values">): RawStream {
  const stream = values.get(rawStreamKey);
  if (stream) return stream;
  throw new DroverError("unimplemented", "bidirectional streams need the gRPC port");
}

export class GrpcRawStream implements RawStream {
  readonly #call: grpc.ServerDuplexStream<Buffer, Buffer>;
  /** What is listened to and written: the call itself, or its HTTP/2 stream. */
  #direct: http2.ServerHttp2Stream | undefined;
  #events: RawEvents | undefined;
  #inFlight = 0;
  #ended = false;
  #full = false;
  #headed = false;

  constructor(call: grpc.ServerDuplexStream<Buffer, Buffer>) {
    this.#call = call;
  }

  get writable(): boolean {
    return this.#inFlight < inFlightBytes;
  }

  /**
   * By events and not the stream's own iterator: that destroys the whole duplex on the error event
   * by which grpc-js is told a status, and what was written before would be lost with the status. A
   * call that is cut off just ends; its signal says why.
   */
  listen(events: RawEvents): void {
    this.#events = events;
    const onMessage = (bytes: Buffer): void => this.#take(bytes, events);
    this.#direct = takeOver(this.#call, onMessage);
    this.#call.once("close", () => this.#end());
    (this.#direct ?? this.#call).once("end", () => this.#end());
    if (!this.#direct) this.#call.on("data", onMessage);
  }

  #take(bytes: Buffer, events: RawEvents): void {
    if (this.#ended) return;
    try {
      events.onMessage(bytes);
    } catch (error) {
      this.#ended = true;
      events.onFailure(error);
    }
  }

  write(bytes: Buffer): void {
    this.#inFlight += bytes.length;
    if (!this.writable) this.#full = true;
    const flushed = (): void => {
      this.#inFlight -= bytes.length;
      if (!this.#full || !this.writable) return;
      this.#full = false;
      this.#events?.onWritable();
    };
    if (this.#direct) this.#writeDirect(this.#direct, bytes, flushed);
    else this.#call.write(bytes, flushed);
  }

  #writeDirect(stream: http2.ServerHttp2Stream, bytes: Buffer, flushed: () => void): void {
    if (stream.destroyed || stream.closed) return;
    if (!this.#headed) {
      this.#headed = true;
      this.#call.sendMetadata(new grpc.Metadata());
    }
    stream.write(framed(bytes), flushed);
  }

  pause(): void {
    (this.#direct ?? this.#call).pause();
  }

  resume(): void {
    (this.#direct ?? this.#call).resume();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#events?.onEnd();
  }
}
