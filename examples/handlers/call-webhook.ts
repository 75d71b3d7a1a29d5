import { z } from "zod";
import { createGuardedFetch, type FetchAnswer, type GuardedFetch } from "../fetch/guarded-fetch.js";
import { readPayload } from "../lib/payload.js";
import { permanent, transient, type SampleHandler, type TaskContext } from "../lib/sdk.js";
import { idHeader, sign, signatureHeader, timestampHeader } from "../lib/webhook-signature.js";

const webhookSchema = z
  .object({
    url: z.string().min(1).max(2048),
    method: z.enum(["POST", "PUT", "PATCH", "DELETE", "GET"]).default("POST"),
    /** Text is sent as it is, anything else as JSON. */
    body: z.json().optional(),
  })
  .refine((call) => call.method !== "GET" || call.body === undefined, {
    path: ["body"],
    message: "GET has none; use POST",
  });
type WebhookCall = z.output<typeof webhookSchema>;

export interface CallWebhookSettings {
  /** Default: a fetch guard that allows what DROVER_FETCH_ALLOW names. */
  fetch?: GuardedFetch;
  /** Default: WEBHOOK_SECRET. */
  secret?: string;
  /** Milliseconds for the whole call. Default 5,000. */
  timeoutMs?: number;
  /** Milliseconds since 1970. */
  now?: () => number;
}

export interface CallWebhookResult {
  status: number;
  /** Of the answer; at most 64 KiB are read. */
  response_bytes: number;
}

/**
 * Calls a URL, signed. Redirects are not followed: a signed body goes nowhere but where the task
 * says.
 */
export function createCallWebhook(
  settings: CallWebhookSettings = {},
): SampleHandler<CallWebhookResult> {
  return {
    type: "call_webhook",
    async handle(payload, context) {
      const call = readPayload(webhookSchema, payload);
      const secret = settings.secret ?? process.env["WEBHOOK_SECRET"];
      if (!secret) throw transient("not_configured", "WEBHOOK_SECRET is not set on this worker");
      const fetch =
        settings.fetch ?? createGuardedFetch({ allow: process.env["DROVER_FETCH_ALLOW"] });
      const now = settings.now ?? Date.now;
      const body = bodyOf(call);
      const answer = await fetch(call.url, {
        method: call.method,
        headers: signedHeaders(call, body, secret, context, now()),
        body: call.body === undefined ? undefined : body,
        signal: context.signal,
        timeoutMs: settings.timeoutMs ?? 5_000,
        maxBytes: 64 * 1024,
        // The call has been made by now: a long-winded answer does not undo it.
        overflow: "cut",
        maxRedirects: 0,
      });
      if (answer.status < 200 || answer.status > 299) throw failureOf(answer, now());
      return { status: answer.status, response_bytes: answer.body.length };
    },
  };
}

function bodyOf(call: WebhookCall): string {
  if (call.body === undefined) return "";
  return typeof call.body === "string" ? call.body : JSON.stringify(call.body);
}

function signedHeaders(
  call: WebhookCall,
  body: string,
  secret: string,
  context: TaskContext,
  now: number,
): Record<string, string> {
  const timestamp = Math.floor(now / 1000);
  const type = typeof call.body === "string" ? "text/plain; charset=utf-8" : "application/json";
  return {
    ...(call.body !== undefined && { "content-type": type }),
    [idHeader]: context.taskId,
    [timestampHeader]: String(timestamp),
    [signatureHeader]: sign(secret, context.taskId, timestamp, body),
    // The same for every attempt; the fencing token rises, so a receiver can refuse one that was
    // overtaken.
    "idempotency-key": context.taskId,
    "drover-fencing-token": String(context.fencingToken),
  };
}

function failureOf(answer: FetchAnswer, now: number) {
  const says = `${answer.from} answered ${answer.status}`;
  const passing = answer.status >= 500 || answer.status === 408 || answer.status === 429;
  if (!passing) return permanent("webhook_refused", says);
  return transient("webhook_failed", says, retryAfterMs(answer.headers["retry-after"], now));
}

/** Seconds or an HTTP date; at most an hour, so that a receiver cannot park a task for good. */
function retryAfterMs(header: string | undefined, now: number): number | undefined {
  if (!header) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, 3_600_000) : undefined;
}

export default createCallWebhook();
