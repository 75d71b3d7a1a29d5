import {
  type DescMethod,
  type DescMessage,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

/**
 * What grpc-js needs to know of a method; made by hand over protobuf-es, so there is one
 * generated codebase only.
 */
export interface MethodCodec<I extends DescMessage, O extends DescMessage> {
  readonly path: string;
  readonly serialize: (message: MessageShape<I>) => Buffer;
  readonly deserialize: (bytes: Uint8Array) => MessageShape<O>;
}

type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { input: I; output: O };

/** `output` may be another description of the same bytes, see opaque.ts. */
export function methodCodec<I extends DescMessage, O extends DescMessage>(
  method: Method<I, O>,
  output: DescMessage = method.output,
): MethodCodec<I, O> {
  return {
    path: methodPath(method),
    serialize: (message) => asBuffer(toBinary(method.input, message)),
    deserialize: (bytes) => fromBinary(output, bytes) as MessageShape<O>,
  };
}

export const methodPath = (method: DescMethod): string =>
  `/${method.parent.typeName}/${method.name}`;

/** The same bytes as a Buffer, not copied. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
