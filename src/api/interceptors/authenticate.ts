import type { Interceptor } from "@connectrpc/connect";
import type { Authenticate } from "../../auth/open.js";
import { namespaceKey } from "../context.js";

/** Once per call or stream: who calls decides the namespace. */
export const authenticateCalls =
  (authenticate: Authenticate): Interceptor =>
  (next) =>
  async (request) => {
    const { namespace } = await authenticate(request.header);
    request.contextValues.set(namespaceKey, namespace);
    return next(request);
  };
