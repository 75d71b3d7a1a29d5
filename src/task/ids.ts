import { limits } from "../limits.js";
import { codeAt } from "../short-text.js";
import { uuidText, writeUuid } from "./uuid.js";

/**
 * Task ids are UUIDv7 (RFC 9562, section 5.7). Their 12 bits of rand_a carry the partition slot, so
 * that an id alone finds its keys: xxxxxxxx-xxxx-7SSS-yxxx-xxxxxxxxxxxx with SSS the slot in hex.
 */
const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The id in its one written form, or undefined if it is no UUID. */
export function parseTaskId(text: string): string | undefined {
  if (uuidPattern.test(text)) return text;
  const id = text.toLowerCase();
  return uuidPattern.test(id) ? id : undefined;
}

export const slotOfId = (id: string): number =>
  (hexDigit(id, 15) << 8) | (hexDigit(id, 16) << 4) | hexDigit(id, 17);

/** Of an id's 16 bytes, which start at `from`. */
export const slotInId = (bytes: Uint8Array, from = 0): number =>
  ((bytes[from + 6]! & 0x0f) << 8) | bytes[from + 7]!;

/** Of an id in its written form: lower case. */
function hexDigit(id: string, at: number): number {
  const code = codeAt(id, at);
  return code < 0x3a ? code - 0x30 : code - 0x57;
}

export const partitionOfSlot = (slot: number, partitions: number): number => slot % partitions;

/**
 * A queue lives in one partition, so that order, limits and keys of a queue are decided in one
 * script. FNV-1a, 32 bits.
 */
export function slotOfQueue(namespace: string, queue: string): number {
  const hash = fnv(fnv(fnv(0x811c9dc5, namespace), "\0"), queue);
  return ((hash ^ (hash >>> 16)) >>> 0) % limits.partitionSlots;
}

/** Of the text's UTF-8; names are ASCII, whose codes are their bytes. */
function fnv(start: number, text: string): number {
  let hash = start;
  for (let at = 0; at < text.length; at += 1) {
    const code = codeAt(text, at);
    if (code > 0x7f) return Buffer.from(text.slice(at)).reduce(fnvByte, hash);
    hash = fnvByte(hash, code);
  }
  return hash;
}

const fnvByte = (hash: number, byte: number): number => Math.imul(hash ^ byte, 0x01000193) >>> 0;

const scratch = Buffer.alloc(16);

/** Forms an id from a time, a slot and eight random (or derived) bytes. */
export function formTaskId(timeMs: number, slot: number, random: Uint8Array): string {
  scratch.writeUIntBE(timeMs, 0, 6);
  scratch.writeUInt16BE(0x7000 | slot, 6);
  for (let n = 0; n < 8; n += 1) scratch[8 + n] = random[n]!;
  scratch[8] = 0x80 | (scratch[8]! & 0x3f);
  return uuidText(scratch);
}

/** As `formTaskId`, of the first 16 digits of a digest in hex. */
export function deriveTaskId(timeMs: number, slot: number, digest: string): string {
  for (let n = 0; n < 8; n += 1) {
    derived[n] = (hexDigit(digest, 2 * n) << 4) | hexDigit(digest, 2 * n + 1);
  }
  return formTaskId(timeMs, slot, derived);
}

const derived = new Uint8Array(8);

/** Unix milliseconds. */
export function timeOfId(id: string): number {
  let time = 0;
  for (let at = 0; at < 13; at += 1) if (at !== 8) time = time * 16 + hexDigit(id, at);
  return time;
}

const lastTimeMs = 2 ** 48 - 1;

/** No id of this millisecond or a later one is below it. */
export function earliestId(timeMs: number): string {
  const bytes = Buffer.alloc(16);
  bytes.writeUIntBE(Math.trunc(Math.min(lastTimeMs, Math.max(0, timeMs))), 0, 6);
  return uuidText(bytes);
}

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
  writeUuid(parts.taskId, token, leaseTokenIdAt);
  token.writeDoubleBE(parts.fencingToken, leaseTokenProofAt);
  token.set(parts.secret.subarray(0, 8), 26);
  return token;
}

/** Where the task's id starts in a token; behind it stand fencing number and secret. */
export const leaseTokenIdAt = 2;
export const leaseTokenProofAt = 18;

/** The slot of the token's task, or undefined if the bytes cannot be a token of Drover. */
export function slotOfLeaseToken(token: Uint8Array): number | undefined {
  if (token.length !== leaseTokenLength) return undefined;
  const slot = (token[0]! << 8) | token[1]!;
  if (slot >= limits.partitionSlots || slotInId(token, leaseTokenIdAt) !== slot) return undefined;
  const fencingToken = fencingOfToken(token);
  return Number.isSafeInteger(fencingToken) && fencingToken >= 1 ? slot : undefined;
}

const eight = new Uint8Array(8);
const asDouble = new DataView(eight.buffer);

/** Of bytes that can be a token. */
export function fencingOfToken(token: Uint8Array): number {
  for (let n = 0; n < 8; n += 1) eight[n] = token[leaseTokenProofAt + n]!;
  return asDouble.getFloat64(0);
}

/** Undefined if the bytes cannot be a token of Drover. */
export function decodeLeaseToken(token: Uint8Array): LeaseTokenParts | undefined {
  const slot = slotOfLeaseToken(token);
  if (slot === undefined) return undefined;
  return {
    slot,
    taskId: uuidText(token, leaseTokenIdAt),
    fencingToken: fencingOfToken(token),
    secret: Buffer.from(token.buffer, token.byteOffset + 26, 8),
  };
}

/** Epoch in the high bits: numbers rise even when a Redis that lost its counter starts again. */
export const fencingEpochUnit = 2 ** 40;
