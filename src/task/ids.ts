import { limits } from "../limits.js";

/**
 * Task ids are UUIDv7 (RFC 9562, section 5.7). Their 12 bits of rand_a carry the partition slot, so
 * that an id alone finds its keys: xxxxxxxx-xxxx-7SSS-yxxx-xxxxxxxxxxxx with SSS the slot in hex.
 */
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The id in its one written form, or undefined if it is no UUID. */
export function parseTaskId(text: string): string | undefined {
  const id = text.toLowerCase();
  return uuidPattern.test(id) ? id : undefined;
}

export const slotOfId = (id: string): number => Number.parseInt(id.slice(15, 18), 16);

export const partitionOfSlot = (slot: number, partitions: number): number => slot % partitions;

/**
 * A queue lives in one partition, so that order, limits and keys of a queue are decided in one
 * script. FNV-1a, 32 bits.
 */
export function slotOfQueue(namespace: string, queue: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(`${namespace}\0${queue}`, "utf8")) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return ((hash ^ (hash >>> 16)) >>> 0) % limits.partitionSlots;
}

/** Forms an id from a time, a slot and eight random (or derived) bytes. */
export function formTaskId(timeMs: number, slot: number, random: Uint8Array): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(timeMs, 0, 6);
  bytes.writeUInt16BE(0x7000 | slot, 6);
  bytes.set(random.subarray(0, 8), 8);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return uuidText(bytes);
}

export const timeOfId = (id: string): number =>
  Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

const lastTimeMs = 2 ** 48 - 1;

/** No id of this millisecond or a later one is below it. */
export function earliestId(timeMs: number): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(Math.trunc(Math.min(lastTimeMs, Math.max(0, timeMs))), 0, 6);
  return uuidText(bytes);
}

export function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString("hex");
  const [a, b, c, d] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return `${a}-${b}-${c}-${d}-${hex.slice(20)}`;
}

export const uuidBytes = (id: string): Uint8Array => Buffer.from(id.replaceAll("-", ""), "hex");

/**
 * What a lease token says: where the task lives, and which grant it is. Opaque to everybody else.
 */
export interface LeaseTokenParts {
  readonly slot: number;
  readonly taskId: string;
  readonly fencingToken: number;
  readonly secret: Uint8Array;
}

/** 2 bytes slot, 16 task id, 8 fencing number (big endian double), 8 secret. */
export const leaseTokenLength = 34;

export function encodeLeaseToken(parts: LeaseTokenParts): Uint8Array {
  const token = Buffer.alloc(leaseTokenLength);
  token.writeUInt16BE(parts.slot, 0);
  token.set(uuidBytes(parts.taskId), 2);
  token.writeDoubleBE(parts.fencingToken, 18);
  token.set(parts.secret.subarray(0, 8), 26);
  return token;
}

/** Undefined if the bytes cannot be a token of Drover. */
export function decodeLeaseToken(token: Uint8Array): LeaseTokenParts | undefined {
  if (token.length !== leaseTokenLength) return undefined;
  const bytes = Buffer.from(token.buffer, token.byteOffset, token.byteLength);
  const slot = bytes.readUInt16BE(0);
  const fencingToken = bytes.readDoubleBE(18);
  const taskId = uuidText(bytes.subarray(2, 18));
  if (!Number.isSafeInteger(fencingToken) || fencingToken < 1) return undefined;
  if (slot >= limits.partitionSlots || slotOfId(taskId) !== slot) return undefined;
  return { slot, taskId, fencingToken, secret: bytes.subarray(26) };
}

/** Epoch in the high bits: numbers rise even when a Redis that lost its counter starts again. */
export const fencingEpochUnit = 2 ** 40;
