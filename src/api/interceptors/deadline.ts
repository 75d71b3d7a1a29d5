import { ConnectError, type Interceptor } from "@connectrpc/connect";

/**
 * A unary call answers as soon as its deadline passes or its caller is gone; what it began goes on
 * to its end.
 */
export const answerInTime: Interceptor = (next) => (request) => {
  if (request.stream) return next(request);
  const { signal } = request;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(ConnectError.from(signal.reason));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    next(request)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", onAbort));
  });
};
