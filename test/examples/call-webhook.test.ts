import { expect, test } from "vitest";
import { createGuardedFetch } from "../../examples/fetch/guarded-fetch.js";
import { createCallWebhook } from "../../examples/handlers/call-webhook.js";
import { sign, signatureFault } from "../../examples/lib/webhook-signature.js";
import { start } from "../../examples/servers/sample-server.js";
import { afterTest, contextOf, failureOf, taskId, testServer } from "./example-context.js";

const secret = "whsec_c2VjcmV0IG9mIHRoaXMgdGVzdCBhbG9uZQ==";
const now = Date.UTC(2026, 0, 1);

const handlerFor = (port: number, settings: Parameters<typeof createCallWebhook>[0] = {}) =>
  createCallWebhook({
    fetch: createGuardedFetch({ allow: `127.0.0.1:${port}` }),
    secret,
    ...settings,
  });

async function receiver(keep?: number) {
  const sample = await start({ secret, ...(keep !== undefined && { keep }) });
  afterTest(() => sample.stop());
  return sample;
}

test("the sample task's webhook arrives, and its receiver verifies the signature", async () => {
  const sample = await receiver();
  const body = { event: "demo", text: "Grüße 🐑" };
  const result = await handlerFor(sample.port).handle(
    { url: `${sample.url}/hooks`, method: "POST", body },
    contextOf({ fencingToken: 7 }),
  );
  expect(result).toMatchObject({ status: 200 });
  expect(sample.hooks()).toMatchObject([
    {
      task_id: taskId,
      method: "POST",
      path: "/hooks",
      body: JSON.stringify(body),
      fencing_token: "7",
      verified: true,
      fault: "",
    },
  ]);
});

test("every attempt has the same idempotency key, and its own fencing token", async () => {
  const server = await testServer((_request, response) => response.end());
  const { handle } = handlerFor(server.port, { now: () => now });
  const payload = { url: server.url, method: "PUT", body: "plain text" };
  await handle(payload, contextOf({ fencingToken: 1 }));
  await handle(payload, contextOf({ fencingToken: 2 }));
  const [first, second] = server.requests;
  expect(first?.headers["idempotency-key"]).toBe(taskId);
  expect(second?.headers["idempotency-key"]).toBe(taskId);
  expect(first?.headers["drover-fencing-token"]).toBe("1");
  expect(second?.headers["drover-fencing-token"]).toBe("2");
  expect(first).toMatchObject({ method: "PUT", body: "plain text" });
  expect(first?.headers["content-type"]).toBe("text/plain; charset=utf-8");
  expect(first?.headers["webhook-timestamp"]).toBe(String(now / 1000));
});

test("a signature holds for its id, time and body alone", () => {
  const headers = {
    "webhook-id": taskId,
    "webhook-timestamp": String(now / 1000),
    "webhook-signature": sign(secret, taskId, now / 1000, "body"),
  };
  const fault = (changes: object, body = "body", at = now) =>
    signatureFault(secret, { headers: { ...headers, ...changes }, body, now: at });
  expect(fault({})).toBeUndefined();
  expect(
    fault({ "webhook-signature": `v1,other ${headers["webhook-signature"]}` }),
  ).toBeUndefined();
  expect(fault({}, "Body")).toBe("signature does not match");
  expect(fault({ "webhook-id": "other" })).toBe("signature does not match");
  expect(fault({ "webhook-timestamp": String(now / 1000 + 1) })).toBe("signature does not match");
  expect(fault({ "webhook-signature": "" })).toBe("signature does not match");
  expect(fault({ "webhook-signature": undefined })).toBe("signature does not match");
  expect(fault({ "webhook-timestamp": "yesterday" })).toBe("id or timestamp missing");
  expect(fault({ "webhook-id": undefined })).toBe("id or timestamp missing");
  expect(fault({}, "body", now + 299_000)).toBeUndefined();
  expect(fault({}, "body", now + 301_000)).toBe("timestamp too old or ahead");
  expect(fault({}, "body", now - 301_000)).toBe("timestamp too old or ahead");
});

test("signatures are those of the Standard Webhooks specification", () => {
  const published = {
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1614265330,
    body: '{"test": 2432232314}',
  };
  expect(sign(published.secret, published.id, published.timestamp, published.body)).toBe(
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  );
});

test("a webhook signed with another secret is refused, for good, and listed as such", async () => {
  const sample = await receiver();
  const work = handlerFor(sample.port, { secret: "another secret" }).handle(
    { url: `${sample.url}/hooks`, method: "POST", body: {} },
    contextOf(),
  );
  await failureOf(work, "webhook_refused", false);
  expect(sample.hooks()).toMatchObject([{ verified: false, fault: "signature does not match" }]);
});

test("a webhook of long ago is refused by its receiver", async () => {
  const sample = await receiver();
  const work = handlerFor(sample.port, { now: () => now }).handle(
    { url: `${sample.url}/hooks`, method: "POST" },
    contextOf(),
  );
  await failureOf(work, "webhook_refused", false);
  expect(sample.hooks()).toMatchObject([{ fault: "timestamp too old or ahead" }]);
});

test.each([
  [400, undefined, "webhook_refused", false, undefined],
  [404, undefined, "webhook_refused", false, undefined],
  [410, "5", "webhook_refused", false, undefined],
  [408, undefined, "webhook_failed", true, undefined],
  [429, "5", "webhook_failed", true, 5_000],
  [429, "Thu, 01 Jan 2026 00:01:00 GMT", "webhook_failed", true, 60_000],
  [429, "Wed, 31 Dec 2025 00:00:00 GMT", "webhook_failed", true, undefined],
  [429, "soon", "webhook_failed", true, undefined],
  [503, "999999999", "webhook_failed", true, 3_600_000],
  [500, undefined, "webhook_failed", true, undefined],
  [301, undefined, "webhook_refused", false, undefined],
])("an answer of %i with Retry-After %s is %s, retryable %s, after %s ms", async (...row) => {
  const [status, retryAfter, code, retryable, afterMs] = row;
  const server = await testServer((_request, response) => {
    response.writeHead(status, retryAfter ? { "retry-after": retryAfter } : {}).end();
  });
  const { handle } = handlerFor(server.port, { now: () => now });
  const failure = await failureOf(handle({ url: server.url }, contextOf()), code, retryable);
  expect(failure.retryAfterMs).toBe(afterMs);
});

test("a redirect is not followed, wherever it leads", async () => {
  const server = await testServer((_request, response) => {
    response.writeHead(307, { location: "/elsewhere" }).end();
  });
  const work = handlerFor(server.port).handle({ url: server.url, body: {} }, contextOf());
  await failureOf(work, "fetch_refused", false);
  expect(server.requests).toHaveLength(1);
});

test("an endless answer does not undo the call", async () => {
  const server = await testServer((_request, response) => {
    response.writeHead(200).write("x".repeat(100 * 1024));
  });
  const result = await handlerFor(server.port).handle({ url: server.url }, contextOf());
  expect(result).toEqual({ status: 200, response_bytes: 64 * 1024 });
});

test("a receiver that does not answer in time is worth another attempt", async () => {
  const server = await testServer(() => undefined);
  const work = handlerFor(server.port, { timeoutMs: 100 }).handle({ url: server.url }, contextOf());
  await failureOf(work, "fetch_timeout", true);
});

test("an address that payloads must not reach is not called", async () => {
  const server = await testServer((_request, response) => response.end());
  const handler = createCallWebhook({ fetch: createGuardedFetch(), secret });
  await failureOf(handler.handle({ url: server.url }, contextOf()), "fetch_refused", false);
  expect(server.connections()).toBe(0);
});

test.each([
  ["url", {}],
  ["url", { url: 7 }],
  ["method", { url: "http://example.com/", method: "TRACE" }],
  ["method", { url: "http://example.com/", method: "POST / HTTP/1.1\r\nx: y" }],
  ["body", { url: "http://example.com/", method: "GET", body: {} }],
])("a bad %s is refused for good, by name", async (field, payload) => {
  const work = handlerFor(1).handle(payload, contextOf());
  const { message } = await failureOf(work, "invalid_payload", false);
  expect(message).toContain(`payload.${field}: `);
});

test("without a secret nothing is sent, and another worker may do better", async () => {
  const work = handlerFor(1, { secret: "" }).handle({ url: "http://example.com/" }, contextOf());
  await failureOf(work, "not_configured", true);
});

test("the task's signal ends a call that hangs", async () => {
  const stop = new AbortController();
  const server = await testServer(() => stop.abort(new Error("cancelled")));
  const work = handlerFor(server.port).handle(
    { url: server.url },
    contextOf({ signal: stop.signal }),
  );
  await expect(work).rejects.toThrow("cancelled");
});

test("the receiver keeps the latest webhooks only, shows them escaped, and takes no huge ones", async () => {
  const sample = await receiver(2);
  const { handle } = handlerFor(sample.port);
  for (const body of ["one", "two", "<script>alert(1)</script>"]) {
    await handle({ url: `${sample.url}/hooks`, body }, contextOf());
  }
  expect(sample.hooks().map(({ body }) => body)).toEqual(["two", "<script>alert(1)</script>"]);
  expect(await (await fetch(sample.url)).text()).not.toContain("<script");
  const huge = await fetch(`${sample.url}/hooks`, { method: "POST", body: "x".repeat(300_000) });
  expect(huge.status).toBe(413);
});
