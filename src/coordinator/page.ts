import { DroverError } from "../errors.js";

/** Page tokens are opaque to clients: which list they belong to, and the last name shown. */
export function encodePageToken(list: string, after: string): string {
  return Buffer.from(JSON.stringify([list, after])).toString("base64url");
}

/** The name to go on after, "" for the first page. */
export function decodePageToken(list: string, token: string): string {
  if (token === "") return "";
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    if (Array.isArray(parsed) && parsed[0] === list && typeof parsed[1] === "string")
      return parsed[1];
  } catch {
    // Falls through to the one answer for anything that is no token of this list.
  }
  throw new DroverError("invalid_page_token", "page_token is not one that this list gave out", {
    field: "page_token",
  });
}
