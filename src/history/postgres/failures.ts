import pg from "pg";
import { DroverError } from "../../errors.js";

/**
 * SQLSTATE of an answer by the server; undefined if it gave none, so that the outcome is unknown.
 */
export const sqlState = (error: unknown): string | undefined =>
  error instanceof pg.DatabaseError ? error.code : undefined;

/**
 * Answers that say the server cannot serve now, not that the statement is wrong: connection
 * troubles, resources, timeouts, shutdown, a standby, broken disks, wrong passwords and missing
 * databases.
 */
const unavailableStates = /^(08|53|57|58|28|3D|25006|25P03|0A000$)/;

/** Thrown inside a transaction that met another one, to start it anew. */
export class StartAnew extends Error {}

/**
 * Another try is likely to succeed: serialization failures, deadlocks, and what we say ourselves.
 */
export const mayRepeat = (error: unknown): boolean =>
  error instanceof StartAnew || sqlState(error)?.startsWith("40") === true;

/** The server refused what was in the rows: bad values and broken constraints. */
export const isBadRow = (error: unknown): boolean =>
  error instanceof DroverError ? isBadRow(error.cause) : /^2[23]/.test(sqlState(error) ?? "");

/**
 * A client whose last word was a proper answer may be used again; any other is destroyed, and also
 * one whose prepared statements rest on types that are gone (XX000, 42804).
 */
export const isUsableAfter = (error: unknown): boolean => {
  if (error instanceof DroverError || error instanceof StartAnew) return true;
  const state = sqlState(error);
  return state !== undefined && !/^(XX|42804)/.test(state) && !unavailableStates.test(state);
};

export function failureOf(error: unknown): DroverError {
  if (error instanceof DroverError) return error;
  const state = sqlState(error);
  if (state === undefined && !mayRepeat(error) && !isFromDriver(error))
    return DroverError.from(error);
  const text = error instanceof Error ? error.message : String(error);
  if (state === undefined || unavailableStates.test(state) || mayRepeat(error)) {
    return new DroverError("history_unavailable", `Postgres did not answer as it should: ${text}`, {
      cause: error,
    });
  }
  return new DroverError("internal", `Postgres refused a statement (${state})`, { cause: error });
}

/** Socket errors and the driver's own; a TypeError or the like is a defect of ours. */
const isFromDriver = (error: unknown): boolean =>
  error instanceof Error && (error.constructor === Error || "errno" in error || "errors" in error);

/** A lock was not to be had in the time allowed; what needed it can wait. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof DroverError ? isLockTimeout(error.cause) : sqlState(error) === "55P03";
