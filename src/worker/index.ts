/** The worker SDK: everything a handler's author needs. */
export { createWorker } from "./worker.js";
export type { StopOptions, Worker } from "./worker.js";
export type { WorkerOptions } from "./options.js";
export type { Handler, HandleOptions, HandlerContext, Middleware } from "./handler.js";
export { ReleaseError, TaskAbortedError, TaskFailedError } from "./errors.js";
export type { AbortCause, TaskFailedOptions } from "./errors.js";
export type { Logger } from "./logger.js";
export { loadHandlers } from "./load-handlers.js";
export type { HandlerModule } from "./load-handlers.js";
export type { Content } from "../transport/content.js";
export type { ChannelCredentials, Headers } from "../transport/channel.js";
export type { AnyTasks, TaskMap } from "../transport/task-map.js";
