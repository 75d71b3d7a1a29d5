/** Bytes that no honest peer sends. */

/** A length-delimited protobuf field. */
export const field = (no: number, bytes: Uint8Array): Buffer =>
  Buffer.concat([varint((no << 3) | 2), varint(bytes.length), bytes]);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    bytes.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) return Buffer.from(bytes);
  }
}

/** A SubmitTaskRequest of type `noop` with these further fields of the task. */
export const taskRequest = (...fields: Buffer[]): Buffer =>
  field(1, Buffer.concat([field(2, Buffer.from("noop")), ...fields]));

/** A google.protobuf.Value of so many lists within each other. */
export function deepValue(levels: number): Buffer {
  let value: Buffer = Buffer.of(8, 0);
  for (let level = 0; level < levels; level += 1) value = field(6, field(1, value));
  return value;
}
