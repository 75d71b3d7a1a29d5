import { createHmac, timingSafeEqual } from "node:crypto";

/**
 * The headers of the Standard Webhooks specification, so that receivers find ready libraries for
 * them.
 */
export const idHeader = "webhook-id";
export const timestampHeader = "webhook-timestamp";
export const signatureHeader = "webhook-signature";

/** Seconds a signature may be old, or ahead: a captured request cannot be replayed for long. */
const toleranceSeconds = 300;

/**
 * `v1,<base64>` of HMAC-SHA-256 over `id.timestamp.body`. The secret may have the usual
 * `whsec_<base64>` form.
 */
export function sign(secret: string, id: string, timestampSeconds: number, body: string): string {
  const key = secret.startsWith("whsec_")
    ? Buffer.from(secret.slice("whsec_".length), "base64")
    : Buffer.from(secret, "utf8");
  const mac = createHmac("sha256", key).update(`${id}.${timestampSeconds}.${body}`);
  return `v1,${mac.digest("base64")}`;
}

export interface SignedRequest {
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: string;
  /** Milliseconds since 1970. */
  now: number;
}

/** Undefined if the request was signed with the secret just now, else what is wrong with it. */
export function signatureFault(secret: string, request: SignedRequest): string | undefined {
  const header = (name: string) => String(request.headers[name] ?? "");
  const timestamp = Number(header(timestampHeader));
  if (!header(idHeader) || !Number.isSafeInteger(timestamp) || timestamp <= 0) {
    return "id or timestamp missing";
  }
  const ageSeconds = Math.abs(request.now / 1000 - timestamp);
  if (ageSeconds > toleranceSeconds) return "timestamp too old or ahead";
  const expected = Buffer.from(sign(secret, header(idHeader), timestamp, request.body));
  // A sender that changes its secret signs with both for a while: one good signature is enough.
  const good = header(signatureHeader)
    .split(" ")
    .map((given) => Buffer.from(given))
    .some((given) => given.length === expected.length && timingSafeEqual(given, expected));
  return good ? undefined : "signature does not match";
}
