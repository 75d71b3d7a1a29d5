import { DroverError } from "../../errors.js";
import { writeText } from "../../short-text.js";
import { writeUuid } from "../../task/uuid.js";

/**
 * Rows in Postgres's binary form: as one parameter, an array of a composite type (record_recv and
 * array_recv of its sources), or as the data of a COPY (the same without the types of the columns).
 * Nothing is written as text and parsed again, which halves what a row costs on either side.
 */

const oids = {
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  json: 114,
  textArray: 1009,
  uuid: 2950,
  bytea: 17,
} as const;

const firstBytes = 64 * 1024;
/** A larger buffer is not kept for the next batch. */
const keptBytes = 1024 * 1024;
const arrayHeaderBytes = 20;
const emptyArrayBytes = 12;
/** A column of a COPY with its length. */
const int8Bytes = 12;
export const uuidColumnBytes = 20;
/** A CopyData message begins, and in it the data. */
const copyHeader = Buffer.from("d\0\0\0\0PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", "latin1");
/** No more rows; and the message CopyDone. */
const copyEnd = Buffer.from("\xff\xffc\0\0\0\x04", "latin1");
const copyDoneBytes = 5;

let kept: Buffer | undefined;

const viewOf = (bytes: Buffer): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A `uuid[]`; as text each of them would be parsed. Lower case with hyphens. */
export const uuidArray = (ids: readonly string[]): Buffer =>
  arrayOf(oids.uuid, 16, ids, (array, id, at) => {
    if (!writeUuid(id, array, at)) throw noUuid(id);
  });

/** A `bigint[]` of safe integers. */
export const intArray = (values: readonly number[]): Buffer =>
  arrayOf(oids.int8, 8, values, (array, value, at) => {
    const high = Math.floor(value / 0x1_0000_0000);
    array.writeInt32BE(high, at);
    array.writeUInt32BE(value - high * 0x1_0000_0000, at + 4);
  });

function arrayOf<T>(
  oid: number,
  bytes: number,
  values: readonly T[],
  write: (array: Buffer, value: T, at: number) => void,
): Buffer {
  const array = Buffer.allocUnsafe(arrayHeaderBytes + (4 + bytes) * values.length);
  const header = [values.length === 0 ? 0 : 1, 0, oid, values.length, 1];
  for (let word = 0; word < header.length; word += 1) array.writeInt32BE(header[word]!, 4 * word);
  if (values.length === 0) return array.subarray(0, emptyArrayBytes);
  let at = arrayHeaderBytes;
  for (const value of values) {
    array.writeInt32BE(bytes, at);
    write(array, value, at + 4);
    at += 4 + bytes;
  }
  return array;
}

const noUuid = (id: string): DroverError =>
  new DroverError("internal", `expected a UUID, got "${id}"`);

function writeInt8(view: DataView, value: number, at: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  view.setInt32(at, high);
  view.setUint32(at + 4, value - high * 0x1_0000_0000);
}

/** Columns are written in the order of the type's attributes, or as the COPY names them. */
export class RowWriter {
  #buffer: Buffer;
  /** Of the buffer: its writers of numbers cost a fraction of Buffer's. */
  #view: DataView;
  #at: number;
  #rowAt = 0;
  #rows = 0;
  /** Columns that may come again. */
  #keptAt = 0;
  #keptEnd = 0;
  /** Undefined: of a COPY. */
  readonly #typeOid: number | undefined;
  readonly #columns: number;

  /** `own`: a buffer to begin in. */
  constructor(typeOid: number | undefined, columns: number, own?: Buffer) {
    this.#typeOid = typeOid;
    this.#columns = columns;
    this.#at = typeOid === undefined ? copyHeader.length : arrayHeaderBytes;
    this.#buffer = own ?? kept ?? Buffer.allocUnsafe(firstBytes);
    this.#view = viewOf(this.#buffer);
    if (!own) kept = undefined;
  }

  /** Bytes so far. */
  get length(): number {
    return this.#at;
  }

  /** Of what was written so far. */
  part(from: number, to: number): Buffer {
    return this.#buffer.subarray(from, to);
  }

  /** What another writer has written, its columns' number ahead of them. */
  copied(other: RowWriter, from: number, to: number): void {
    this.#room(to - from);
    other.#buffer.copy(this.#buffer, this.#at, from, to);
    this.#at += to - from;
  }

  /** Columns of numbers that are not known yet. Answers where they stand, for `fill`. */
  later(columns: number): number {
    const from = this.#at;
    for (let nth = 0; nth < columns; nth += 1) this.int8(0);
    return from;
  }

  /** The column `nth` of those. */
  fill(from: number, nth: number, value: number): void {
    writeInt8(this.#view, value, from + nth * int8Bytes + 4);
  }

  begin(): void {
    this.#room(8);
    this.#rowAt = this.#at;
    if (this.#typeOid === undefined) {
      this.#view.setInt16(this.#at, this.#columns);
      this.#at += 2;
      return;
    }
    this.#view.setInt32(this.#at + 4, this.#columns);
    this.#at += 8;
  }

  end(): void {
    this.#rows += 1;
    if (this.#typeOid === undefined) return;
    this.#view.setInt32(this.#rowAt, this.#at - this.#rowAt - 4);
  }

  /** The columns written between are kept for `again`. */
  keepFrom(): void {
    this.#keptAt = this.#at;
  }

  keepTo(): void {
    this.#keptEnd = this.#at;
  }

  /** The columns kept last. */
  again(): void {
    this.repeat(this.#keptAt, this.#keptEnd);
  }

  /** Columns that were written before. */
  repeat(from: number, to: number): void {
    this.#room(to - from);
    this.#buffer.copyWithin(this.#at, from, to);
    this.#at += to - from;
  }

  /** The messages of a COPY as they stand in the writer's own buffer. */
  messages(): Buffer {
    const end = this.#endCopy();
    return this.#buffer.subarray(0, end);
  }

  /** The parameter, or the messages of a COPY; the writer must not be used afterwards. */
  finish(): Buffer {
    const end = this.#typeOid === undefined ? this.#endCopy() : this.#endArray(this.#typeOid);
    // Copied, because the driver may still be sending when the next batch is written.
    const rows = Buffer.from(this.#buffer.subarray(0, end));
    if (this.#buffer.length <= keptBytes) kept = this.#buffer;
    return rows;
  }

  #endCopy(): number {
    this.#room(copyEnd.length);
    copyHeader.copy(this.#buffer);
    copyEnd.copy(this.#buffer, this.#at);
    const end = this.#at + copyEnd.length;
    this.#view.setInt32(1, end - copyDoneBytes - 1);
    return end;
  }

  #endArray(typeOid: number): number {
    const dimensions = this.#rows === 0 ? 0 : 1;
    this.#view.setInt32(0, dimensions);
    this.#view.setInt32(4, 0);
    this.#view.setInt32(8, typeOid);
    this.#view.setInt32(12, this.#rows);
    this.#view.setInt32(16, 1);
    return dimensions === 0 ? emptyArrayBytes : this.#at;
  }

  int8(value: number | undefined): void {
    if (value === undefined) return this.#null(oids.int8);
    this.#head(oids.int8, 8);
    writeInt8(this.#view, value, this.#at);
    this.#at += 8;
  }

  int4(value: number): void {
    this.#head(oids.int4, 4);
    this.#view.setInt32(this.#at, value);
    this.#at += 4;
  }

  int2(value: number): void {
    this.#head(oids.int2, 2);
    this.#view.setInt16(this.#at, value);
    this.#at += 2;
  }

  /** Lower case with hyphens. */
  uuid(id: string | undefined): void {
    if (id === undefined) return this.#null(oids.uuid);
    this.#head(oids.uuid, 16);
    if (!writeUuid(id, this.#buffer, this.#at)) throw noUuid(id);
    this.#at += 16;
  }

  text(value: string | undefined): void {
    this.#string(oids.text, value);
  }

  json(value: string | undefined): void {
    this.#string(oids.json, value);
  }

  bytes(value: Uint8Array | undefined): void {
    if (value === undefined) return this.#null(oids.bytea);
    this.#head(oids.bytea, value.byteLength);
    this.#buffer.set(value, this.#at);
    this.#at += value.byteLength;
  }

  /** Bytes that stand among others. */
  stretch(bytes: Buffer, from: number, to: number): void {
    this.#head(oids.bytea, to - from);
    bytes.copy(this.#buffer, this.#at, from, to);
    this.#at += to - from;
  }

  /** Undefined for none. */
  texts(values: readonly string[] | undefined): void {
    if (values === undefined || values.length === 0) return this.#null(oids.textArray);
    this.#head(oids.textArray, arrayHeaderBytes);
    const start = this.#at;
    const header = [1, 0, oids.text, values.length, 1];
    for (const [index, word] of header.entries()) {
      this.#view.setInt32(start + 4 * index, word);
    }
    this.#at += arrayHeaderBytes;
    for (const value of values) this.#counted(value);
    this.#view.setInt32(start - 4, this.#at - start);
  }

  #string(oid: number, value: string | undefined): void {
    if (value === undefined) return this.#null(oid);
    this.#type(oid);
    this.#counted(value);
  }

  #counted(value: string): void {
    this.#room(4 + 3 * value.length);
    const length = writeText(this.#buffer, value, this.#at + 4);
    this.#view.setInt32(this.#at, length);
    this.#at += 4 + length;
  }

  #null(oid: number): void {
    this.#head(oid, -1);
  }

  #head(oid: number, length: number): void {
    this.#type(oid);
    this.#room(4 + Math.max(0, length));
    this.#view.setInt32(this.#at, length);
    this.#at += 4;
  }

  #type(oid: number): void {
    if (this.#typeOid === undefined) return;
    this.#room(4);
    this.#view.setInt32(this.#at, oid);
    this.#at += 4;
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const wider = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#at + bytes));
    this.#buffer.copy(wider, 0, 0, this.#at);
    this.#buffer = wider;
    this.#view = viewOf(wider);
  }
}
