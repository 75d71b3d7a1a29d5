import * as path from "node:path";
import type * as ClientSdk from "../src/client/index.js";
import type * as WorkerSdk from "../src/worker/index.js";

/** The build, as users get it; run from the sources it would carry the loader's own wrappers. */
export const build = path.resolve(process.env.BENCH_BUILD ?? "dist");

let client: Promise<typeof ClientSdk> | undefined;
export const loadClient = (): Promise<typeof ClientSdk> =>
  (client ??= import(path.join(build, "client/index.js")) as Promise<typeof ClientSdk>);

let worker: Promise<typeof WorkerSdk> | undefined;
export const loadWorker = (): Promise<typeof WorkerSdk> =>
  (worker ??= import(path.join(build, "worker/index.js")) as Promise<typeof WorkerSdk>);
