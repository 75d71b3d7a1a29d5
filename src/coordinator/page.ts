import { DroverError } from "../errors.js";

/** Of a queue, a schedule. */
export const namePattern = /^[^\0]{1,256}$/;

/** Page tokens are opaque to clients: which list they belong to, and the last name shown. */
export function encodePageToken(list: string, after: string): string {
  return Buffer.from(JSON.stringify([list, after])).toString("base64url");
}

/**
 * The name to go on after, "" for the first page. `fits`: what such a name looks like, where a
 * store would stumble over another.
 */
export function decodePageToken(list: string, token: string, fits = /^/): string {
  if (token === "") return "";
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    if (Array.isArray(parsed) && parsed[0] === list && typeof parsed[1] === "string") {
      if (fits.test(parsed[1])) return parsed[1];
    }
  } catch {
    // Falls through to the one answer for anything that is no token of this list.
  }
  throw new DroverError("invalid_page_token", "page_token is not one that this list gave out", {
    field: "page_token",
  });
}
