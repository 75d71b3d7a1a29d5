import type { HandlerContext } from "@connectrpc/connect";
import type { WatchTasksRequest, WatchTasksResponse } from "../../gen/drover/v1/task_pb.js";
import type { Clock } from "../clock.js";
import type { Coordinator } from "../coordinator/coordinator.js";
import { DroverError } from "../errors.js";
import { limits } from "../limits.js";
import { breakOffKey, namespaceOf } from "./context.js";
import type { Opaque, OpaqueInit } from "./contract.js";
import { checkCursor, toWireEvent, watchedIds } from "./convert-watch.js";
import { toConnectError } from "./interceptors/errors.js";

/** Event by event, as the caller takes them; one that takes none for 30 s is broken off. */
export async function* watchTasks(
  coordinator: Coordinator,
  clock: Clock,
  request: Opaque<WatchTasksRequest>,
  context: HandlerContext,
): AsyncGenerator<OpaqueInit<WatchTasksResponse>> {
  const taskIds = watchedIds(request);
  const cursor = checkCursor(request.cursor);
  const breakOff = context.values.get(breakOffKey);
  const events = coordinator.watch(namespaceOf(context), taskIds, cursor, context.signal);
  for await (const event of events) {
    const stalled = clock.after(limits.watchStalledMs, () => {
      const message = `no event was taken for ${limits.watchStalledMs} ms`;
      breakOff(toConnectError(new DroverError("slow_consumer", message)));
    });
    try {
      yield toWireEvent(event);
    } finally {
      stalled.cancel();
    }
  }
}
