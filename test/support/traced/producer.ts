/**
 * A producer process with an OpenTelemetry SDK of its own: submits one task of type `report` with
 * the payload TRACED_PAYLOAD within the span `checkout`, waits for its end, and says
 * `{ taskId, status }` on standard output.
 */
import { trace } from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { createClient } from "drover/client";

const sdk = new NodeSDK({ instrumentations: [] });
sdk.start();
const client = createClient();
const payload = process.env["TRACED_PAYLOAD"];
const task = await trace.getTracer("shop").startActiveSpan("checkout", async (span) => {
  const retryPolicy = { initialBackoffMs: 1 };
  const receipt = await client.submit("report", payload, { retryPolicy });
  span.end();
  return receipt;
});
const { status } = await client.wait(task);
await client.close();
await sdk.shutdown();
process.stdout.write(`${JSON.stringify({ taskId: task.id, status })}\n`);
