import { existsSync } from "node:fs";
import * as path from "node:path";
import { freePort } from "../src/history/postgres/embedded.js";
import { spawnGuarded, untilItSays } from "../src/history/postgres/guarded.js";
import { build } from "./build.js";

export interface Coordinator {
  /** Of gRPC. */
  readonly address: string;
  /** Of the HTTP door, as a URL. */
  readonly http: string;
  readonly pid: number;
  stop(): Promise<void>;
}

const startLimitMs = 30_000;

/** `drover serve`, which ends with this process, however that ends. */
export async function startCoordinator(
  env: Readonly<Record<string, string>>,
  profile: string | undefined,
): Promise<Coordinator> {
  const main = path.join(build, "main.js");
  if (!existsSync(main)) throw new Error("the benchmark runs the build: call `make build` first");
  const [grpcPort, port] = [await freePort(), await freePort()];
  const ports = { PORT: String(port), GRPC_PORT: String(grpcPort) };
  const settings = { ...env, ...ports, PATH: process.env.PATH ?? "" };
  const given = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const profiling = profile === undefined ? [] : ["--cpu-prof", "--cpu-prof-dir", profile];
  const command = ["-i", ...given, process.execPath, ...profiling, main, "serve"];
  const guarded = spawnGuarded("/usr/bin/env", command, { cwd: process.cwd() });
  await untilItSays(guarded, "server.started", AbortSignal.timeout(startLimitMs)).catch((cause) => {
    guarded.end();
    throw new Error(`the coordinator did not start: ${guarded.lastLines()}`, { cause });
  });
  return {
    address: `127.0.0.1:${grpcPort}`,
    http: `http://127.0.0.1:${port}`,
    pid: guarded.child.pid!,
    async stop() {
      guarded.end();
      await guarded.exited;
    },
  };
}
