import {
  create,
  fromBinary,
  toBinary,
  type DescMethod,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { StatusSchema, type Status } from "../../gen/google/rpc/status_pb.js";

/** A plain grpc-js client that can also send bytes that are no message. */
export class RawClient {
  readonly #client: grpc.Client;
  constructor(address: string) {
    this.#client = new grpc.Client(address, grpc.credentials.createInsecure(), {
      "grpc.max_send_message_length": -1,
      "grpc.use_local_subchannel_pool": 1,
    });
  }

  close(): void {
    this.#client.close();
  }

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I> | Buffer,
    options: grpc.CallOptions = {},
    metadata = new grpc.Metadata(),
  ): Promise<MessageShape<O>> {
    const bytes = Buffer.isBuffer(request)
      ? request
      : Buffer.from(toBinary(method.input, create(method.input, request)));
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        pathOf(method),
        same,
        (reply) => fromBinary(method.output, reply) as MessageShape<O>,
        bytes,
        metadata,
        options,
        (error, reply) => (error ? reject(error) : resolve(reply!)),
      );
    });
  }

  bidi<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    options: grpc.CallOptions = {},
    reads = true,
  ): Bidi<I, O> {
    const call = this.#client.makeBidiStreamRequest(pathOf(method), same, same, options);
    return new Bidi(method, call, reads);
  }
}

const same = (bytes: Buffer): Buffer => bytes;
const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

export class Bidi<I extends DescMessage, O extends DescMessage> {
  readonly #method: DescMethod & { input: I; output: O };
  readonly call: grpc.ClientDuplexStream<Buffer, Buffer>;
  readonly #status: Promise<grpc.StatusObject>;
  #frames: MessageShape<O>[] = [];
  #waiting: ((frame: MessageShape<O>) => void)[] = [];

  constructor(
    method: DescMethod & { input: I; output: O },
    call: grpc.ClientDuplexStream<Buffer, Buffer>,
    reads = true,
  ) {
    this.#method = method;
    this.call = call;
    call.on("error", () => undefined);
    this.#status = new Promise((resolve) => call.on("status", resolve));
    if (reads) call.on("data", (bytes: Buffer) => this.#arrived(bytes));
  }

  #arrived(bytes: Buffer): void {
    const frame = fromBinary(this.#method.output, bytes) as MessageShape<O>;
    const waiting = this.#waiting.shift();
    if (waiting) waiting(frame);
    else this.#frames.push(frame);
  }

  send(frame: MessageInitShape<I> | Buffer): void {
    const bytes = Buffer.isBuffer(frame)
      ? frame
      : Buffer.from(toBinary(this.#method.input, create(this.#method.input, frame)));
    this.call.write(bytes);
  }

  next(): Promise<MessageShape<O>> {
    const ready = this.#frames.shift();
    if (ready) return Promise.resolve(ready);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  end(): void {
    this.call.end();
  }

  status(): Promise<grpc.StatusObject> {
    return this.#status;
  }
}

/** google.rpc.Status of a failed call. */
export function statusDetails(error: { readonly metadata: grpc.Metadata }): Status {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  return fromBinary(StatusSchema, bytes as Buffer);
}

export const errorId = (error: { readonly metadata: grpc.Metadata }): string =>
  String(error.metadata.get("drover-error-id")[0] ?? "");
