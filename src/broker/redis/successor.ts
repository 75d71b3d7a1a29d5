import { uuidText } from "../../task/uuid.js";
import type { Task } from "../../task/task.js";
import { idBytes, packTask, unpackTask } from "./record.js";

/*
 * The task that takes the place of another stands behind the snapshot of that one in the outbox:
 * its record, a payload too large for the record, its id and the size of that payload, then, at the
 * very end, how far back all this begins.
 */

const endBytes = 16 + 4 + 4;

export function packSuccessor(task: Task): Buffer {
  const { record, payloadApart } = packTask(task, { inHistory: false, restored: false });
  const apart = payloadApart ?? new Uint8Array();
  const end = Buffer.alloc(endBytes);
  end.set(idBytes(task.id));
  end.writeUInt32BE(apart.length, 16);
  end.writeUInt32BE(record.length + apart.length + endBytes, 20);
  return Buffer.concat([record, apart, end]);
}

export function unpackSuccessor(snapshot: Buffer): Task {
  const end = snapshot.length - endBytes;
  const id = uuidText(snapshot.subarray(end, end + 16));
  const apartStart = end - snapshot.readUInt32BE(end + 16);
  const start = snapshot.length - snapshot.readUInt32BE(end + 20);
  const payload = snapshot.subarray(apartStart, end);
  return unpackTask(id, snapshot.subarray(start, apartStart), { payload });
}
