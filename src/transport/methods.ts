import {
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

/**
 * What grpc-js needs to know of a method. Made by hand over protobuf-es, so that there is one
 * generated codebase only.
 */
export interface MethodCodec<Request, Answer> {
  readonly path: string;
  readonly serialize: (request: Request) => Buffer;
  readonly deserialize: (bytes: Uint8Array) => Answer;
}

type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };

/** `output` may be another description of the same bytes, see opaque.ts. */
export function methodCodec<I extends DescMessage, O extends DescMessage>(
  method: Method<I, O>,
  output: DescMessage = method.output,
): MethodCodec<MessageShape<I>, MessageShape<O>> {
  return {
    path: methodPath(method),
    serialize: (message) => asBuffer(toBinary(method.input, message)),
    deserialize: (bytes) => fromBinary(output, bytes) as MessageShape<O>,
  };
}

/** For requests that are encoded already. */
export function rawCodec<I extends DescMessage, O extends DescMessage>(
  method: Method<I, O>,
): MethodCodec<Uint8Array, MessageShape<O>> {
  return {
    path: methodPath(method),
    serialize: asBuffer,
    deserialize: (bytes) => fromBinary(method.output, bytes),
  };
}

/** For messages that are written and read by hand. `read` throws for what is none. */
export const handCodec = <Request, Answer>(
  method: DescMethod,
  write: (request: Request) => Buffer,
  read: (bytes: Buffer) => Answer,
): MethodCodec<Request, Answer> => ({
  path: methodPath(method),
  serialize: write,
  deserialize: (bytes) => read(asBuffer(bytes)),
});

const methodPath = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

/** The same bytes as a Buffer, not copied. */
const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
