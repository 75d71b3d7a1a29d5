import { trace } from "@opentelemetry/api";
import type { HandlerContext } from "drover/worker";

/** A handler with a span of its own. Fails once, and quotes its payload then. */
export default {
  type: "report",
  async handle(payload: unknown, { attempt, logger }: HandlerContext) {
    return trace.getTracer("handlers").startActiveSpan("query", async (span) => {
      logger.info({}, "reporting");
      span.end();
      if (attempt === 1) throw new Error(`cannot report ${JSON.stringify(payload)}`);
      return payload;
    });
  },
};
