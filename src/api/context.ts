import { createContextKey, type ConnectError, type HandlerContext } from "@connectrpc/connect";
import { DroverError } from "../errors.js";

/** Set by the authenticate interceptor, before any service runs. */
export const namespaceKey = createContextKey<string>("", { description: "namespace" });

/**
 * Breaks a stream off at once, even while its writer waits for a peer that does not read. Set by
 * the door.
 */
export const breakOffKey = createContextKey<(reason: ConnectError) => void>(() => undefined, {
  description: "break off",
});

/** The namespace of the authenticated caller. */
export const namespaceOf = (context: Pick<HandlerContext, "values">): string =>
  checkNamespace(context.values.get(namespaceKey));

export function checkNamespace(namespace: string): string {
  if (namespace === "") throw new DroverError("internal", "the call was not authenticated");
  return namespace;
}
