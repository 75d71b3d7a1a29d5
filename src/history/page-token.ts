import { createHash } from "node:crypto";
import { DroverError } from "../errors.js";
import { parseTaskId } from "../task/ids.js";
import type { ListQuery } from "./history.js";

/** Above every UUIDv7: a list without a token starts here and goes down. */
export const beforeAllIds = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/**
 * A token carries the last id shown and a digest of the filter it belongs to; it holds no secret.
 */
export const pageToken = (query: ListQuery, lastId: string): string =>
  Buffer.from(`1${filterDigest(query)}${lastId}`, "latin1").toString("base64url");

/**
 * The id after which the page starts. Throws `invalid_page_token` for a token of another filter or
 * of nobody's.
 */
export function startOfPage(query: ListQuery): string {
  if (query.pageToken === "") return beforeAllIds;
  const text = Buffer.from(query.pageToken, "base64url").toString("latin1");
  const id = parseTaskId(text.slice(17));
  if (!text.startsWith("1") || !id) throw invalid("it is not one that Drover gave");
  if (text.slice(1, 17) !== filterDigest(query)) throw invalid("it belongs to another filter");
  return id;
}

function filterDigest(query: ListQuery): string {
  const { namespace, statuses, type, queue, tag, errorCode, createdAfter, createdBefore } = query;
  const { batchId, schedule, text } = query;
  const words = [namespace, statuses?.toSorted(), type, queue, tag, errorCode, createdAfter];
  const filter = JSON.stringify([...words, createdBefore, batchId, schedule, text]);
  return createHash("sha256").update(filter).digest("hex").slice(0, 16);
}

const invalid = (why: string): DroverError =>
  new DroverError("invalid_page_token", `page_token cannot be used: ${why}`, {
    field: "page_token",
  });
