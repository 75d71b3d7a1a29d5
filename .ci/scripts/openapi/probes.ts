/** What the HTTP door answers beside the contract. */
import type { Schema } from "./rules.js";

const json = (description: string, schema: Schema): Schema => ({
  description,
  content: { "application/json": { schema } },
});

const object = (properties: Record<string, Schema>): Schema => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});

const refused = (description: string): Schema =>
  json(description, { $ref: "#/components/schemas/ErrorReply" });

const get = (operationId: string, summary: string, responses: Record<string, Schema>): Schema => ({
  get: {
    operationId,
    tags: ["Coordinator"],
    summary,
    responses: { ...responses, "405": refused("Only GET.") },
  },
});

export const probePaths: Record<string, Schema> = {
  "/health": get("health", "Whether the process lives.", {
    "200": json("It lives.", object({ status: { const: "ok" } })),
  }),
  "/ready": get("ready", "Whether it takes submissions now.", {
    "200": json("It does; `degraded` says what else does not work.", {
      ...object({ status: { const: "ready" } }),
      properties: { status: { const: "ready" }, degraded: { type: "string" } },
    }),
    "503": json(
      "It does not.",
      object({ status: { const: "not ready" }, reason: { type: "string" } }),
    ),
  }),
  "/openapi.json": get("openapi", "This document.", {
    "200": json("OpenAPI 3.1.", { type: "object" }),
  }),
};

/** `POST /task`: SubmitTask with a reply of its own. */
export function enqueueOperation(submit: Schema): Schema {
  const reply = object({
    message: { const: "Task enqueued" },
    id: { type: "string", format: "uuid", description: "The task's id." },
  });
  return {
    ...submit,
    operationId: "enqueue",
    summary: "SubmitTask with a short reply.",
    description: "As POST /api/v1/tasks, with a short reply.",
    responses: { ...(submit["responses"] as Schema), "200": json("OK.", reply) },
  };
}
