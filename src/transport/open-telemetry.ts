import type * as OpenTelemetry from "@opentelemetry/api";

type Api = typeof OpenTelemetry;

const registry = Symbol.for("opentelemetry.js.api.1");
let api: Promise<Api> | undefined;

/**
 * OpenTelemetry's API where this process has registered an SDK with it; else undefined, and not
 * even the API is loaded.
 */
export function openTelemetry(): Promise<Api> | undefined {
  if (!(registry in globalThis)) return undefined;
  api ??= import("@opentelemetry/api");
  return api;
}
