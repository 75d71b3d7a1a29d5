import { clone, createFileRegistry, type DescFile, type DescMessage } from "@bufbuild/protobuf";
import { FieldDescriptorProto_Type, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { file_drover_v1_task, type Task } from "../../gen/drover/v1/task_pb.js";

/**
 * A task whose JSON payload, result and checkpoint are still encoded (empty: not there). One
 * payload nested too deep must not make the whole frame or page around it unreadable, so they are
 * decoded on their own.
 */
export type WireTask = Omit<Task, "payload" | "result" | "checkpoint"> & {
  payload: Uint8Array;
  result: Uint8Array;
  checkpoint: Uint8Array;
};

const valueFields = new Set(["payload", "result", "checkpoint"]);

function opaqueRegistry() {
  const proto = clone(FileDescriptorProtoSchema, file_drover_v1_task.proto);
  for (const message of proto.messageType) {
    if (message.name !== "Task") continue;
    for (const field of message.field) {
      if (!valueFields.has(field.name)) continue;
      field.type = FieldDescriptorProto_Type.BYTES;
      field.typeName = "";
    }
  }
  const known = new Map<string, DescFile>();
  const remember = (file: DescFile): void => {
    known.set(file.proto.name, file);
    file.dependencies.forEach(remember);
  };
  file_drover_v1_task.dependencies.forEach(remember);
  return createFileRegistry(proto, (name) => known.get(name));
}

const registry = opaqueRegistry();

/**
 * The same message with the tasks in it as WireTask: a Value field and a bytes field are equal on
 * the wire.
 */
export function opaque(schema: DescMessage): DescMessage {
  return registry.getMessage(schema.typeName) ?? schema;
}
