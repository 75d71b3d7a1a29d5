import type { Authenticate } from "../../src/auth/open.js";
import { openAccess } from "../../src/auth/open.js";
import { createGrpcDoor, type Door } from "../../src/api/grpc.js";
import { createHttpDoor } from "../../src/api/http.js";
import { systemClock } from "../../src/clock.js";
import { FakeCoordinator } from "./fake-coordinator.js";

/** Both doors over a fake coordinator, on free ports of loopback. */
export interface Doors {
  readonly coordinator: FakeCoordinator;
  readonly grpc: Door;
  readonly http: Door;
  /** Base of the HTTP door, without a slash at the end. */
  readonly url: string;
  /** host:port of the gRPC door. */
  readonly address: string;
  /** Defects the doors reported. */
  readonly internal: unknown[];
  stop(): Promise<void>;
}

export async function openDoors(authenticate: Authenticate = openAccess): Promise<Doors> {
  const coordinator = new FakeCoordinator();
  const internal: unknown[] = [];
  const options = {
    coordinator,
    authenticate,
    clock: systemClock,
    host: "127.0.0.1",
    port: 0,
    onInternal: (cause: unknown) => void internal.push(cause),
    graceMs: 500,
  };
  const grpc = createGrpcDoor(options);
  const http = createHttpDoor(options);
  await grpc.start();
  await http.start();
  return {
    coordinator,
    grpc,
    http,
    url: `http://127.0.0.1:${http.port}`,
    address: `127.0.0.1:${grpc.port}`,
    internal,
    async stop() {
      await Promise.all([grpc.stop(), http.stop()]);
    },
  };
}
