import {
  create,
  createFileRegistry,
  fromBinary,
  toBinary,
  type DescField,
  type DescFile,
  type DescMessage,
  type DescMethod,
  type DescService,
  type Message,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  OneofDescriptorProtoSchema,
  type DescriptorProto,
} from "@bufbuild/protobuf/wkt";
import type { HandlerContext } from "@connectrpc/connect";
import type { CallHeaders } from "../auth/open.js";
import { file_drover_v1_admin } from "../../gen/drover/v1/admin_pb.js";
import { file_drover_v1_batch } from "../../gen/drover/v1/batch_pb.js";
import { file_drover_v1_task } from "../../gen/drover/v1/task_pb.js";

/**
 * The contract as coordinators read it: every google.protobuf.Value is left as the bytes it came in
 * (a Value field and a bytes field are the same on the wire), so payloads and results pass unread.
 * Services are written against these messages; the JSON doors alone look inside.
 */
export type Opaque<T> = T extends { $typeName: "google.protobuf.Value" }
  ? Uint8Array
  : T extends Uint8Array | Message<`google.protobuf.${string}`>
    ? T
    : T extends object
      ? { [K in keyof T]: Opaque<T[K]> }
      : T;

/** What `create` takes: every field may be left out. */
export type OpaqueInit<T> = T extends { $typeName: "google.protobuf.Value" }
  ? Uint8Array
  : T extends Uint8Array
    ? T
    : T extends { $typeName: string }
      ? { [K in Exclude<keyof T, "$typeName" | "$unknown">]?: OpaqueInit<T[K]> | undefined }
      : T extends object
        ? { [K in keyof T]: OpaqueInit<T[K]> }
        : T;

type Unary<I, O> = (request: Opaque<I>, context: HandlerContext) => Promise<OpaqueInit<O>>;
type ServerStream<I, O> = (
  request: Opaque<I>,
  context: HandlerContext,
) => AsyncIterable<OpaqueInit<O>>;
type BidiStream<I, O> = (
  requests: AsyncIterable<Opaque<I>>,
  context: HandlerContext,
) => AsyncIterable<OpaqueInit<O>>;

type MethodImpl<M> = M extends {
  methodKind: infer Kind;
  input: infer I extends DescMessage;
  output: infer O extends DescMessage;
}
  ? Kind extends "unary"
    ? Unary<MessageShape<I>, MessageShape<O>>
    : Kind extends "server_streaming"
      ? ServerStream<MessageShape<I>, MessageShape<O>>
      : BidiStream<MessageShape<I>, MessageShape<O>>
  : never;

/** A service as code. A method left out answers UNIMPLEMENTED. */
export type Implementation<S extends DescService> = {
  [K in keyof S["method"]]?: MethodImpl<S["method"][K]>;
};

/**
 * A service ready for the doors: the published description, the one with values unread, and the
 * code.
 */
export interface MountedService {
  readonly published: DescService;
  readonly service: DescService;
  readonly implementation: Readonly<Record<string, unknown>>;
  readonly direct: DirectMethods;
}

/** Who called, and with what metadata. */
export interface DirectCall {
  readonly namespace: string;
  readonly headers: CallHeaders;
}

/**
 * Unary methods, by local name, that the gRPC door serves from bytes to bytes, past messages and
 * interceptors: the caller is authenticated and errors are mapped, and that is all. Each is in the
 * implementation too, for the other doors.
 */
export type DirectMethods = Readonly<
  Record<string, (bytes: Buffer, call: DirectCall) => Promise<Buffer>>
>;

export const mount = <S extends DescService>(
  published: S,
  implementation: Implementation<S>,
  direct: DirectMethods = {},
): MountedService => ({
  published,
  service: registry.getService(published.typeName) ?? published,
  implementation: implementation as Readonly<Record<string, unknown>>,
  direct,
});

/** The files of the contract, for reflection and route compilation: as published. */
export const contractFiles: readonly DescFile[] = [
  file_drover_v1_task,
  file_drover_v1_admin,
  file_drover_v1_batch,
];

const valueFields = new Set<string>();
const registry = opaqueRegistry();

/**
 * Whether this bytes field of an opaque message is a google.protobuf.Value in the published
 * contract.
 */
export const isValueField = (field: DescField): boolean =>
  valueFields.has(`${field.parent.typeName}.${field.name}`);

/** The opaque description of a published message; the same one if it holds no drover message. */
export const opaque = (published: DescMessage): DescMessage =>
  registry.getMessage(published.typeName) ?? published;

/** The same method over opaque messages. */
export const opaqueMethod = (published: DescMethod): DescMethod =>
  registry
    .getService(published.parent.typeName)
    ?.methods.find(({ name }) => name === published.name) ?? published;

function opaqueRegistry() {
  const files = new Map<string, DescFile>();
  const visit = (file: DescFile): void => {
    if (files.has(file.proto.name)) return;
    file.dependencies.forEach(visit);
    files.set(file.proto.name, file);
  };
  contractFiles.forEach(visit);
  return createFileRegistry(
    create(FileDescriptorSetSchema, { file: [...files.values()].map(withoutValues) }),
  );
}

function withoutValues(file: DescFile) {
  // Copied by way of the wire: options (validation rules, HTTP rules) are unknown fields and must
  // stay.
  const proto = fromBinary(
    FileDescriptorProtoSchema,
    toBinary(FileDescriptorProtoSchema, file.proto),
  );
  if (proto.package === "drover.v1") {
    for (const message of proto.messageType) replaceValues(message, proto.package);
  }
  return proto;
}

/**
 * Presence must survive the change, so a plain field becomes a proto3 `optional` one (in an oneof
 * of its own).
 */
function replaceValues(message: DescriptorProto, pkg: string): void {
  for (const field of message.field) {
    if (field.typeName !== ".google.protobuf.Value") continue;
    valueFields.add(`${pkg}.${message.name}.${field.name}`);
    field.type = FieldDescriptorProto_Type.BYTES;
    field.typeName = "";
    field.proto3Optional = true;
    field.oneofIndex = message.oneofDecl.length;
    message.oneofDecl.push(create(OneofDescriptorProtoSchema, { name: `_${field.name}` }));
  }
}
