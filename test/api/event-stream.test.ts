import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { createContextValues, createHandlerContext } from "@connectrpc/connect";
import { TaskService } from "../../gen/drover/v1/task_pb.js";
import { breakOffKey, namespaceKey } from "../../src/api/context.js";
import { sendEvents } from "../../src/api/event-stream.js";
import { watchTasks } from "../../src/api/watch-stream.js";
import type { Coordinator, TaskEvent } from "../../src/coordinator/coordinator.js";
import { DroverError } from "../../src/errors.js";
import { limits } from "../../src/limits.js";
import { createManualClock } from "../support/manual-clock.js";

const clock = createManualClock();
const open: { server: Server; sockets: Socket[] }[] = [];
afterEach(() => {
  for (const { server, sockets } of open.splice(0)) {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  }
});

/** A request over a socket of its own, and how it is answered. */
async function serve(answer: (response: ServerResponse) => Promise<void>) {
  const server = createServer();
  const asked = once(server, "request") as Promise<[unknown, ServerResponse]>;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  open.push({ server, sockets: [socket] });
  socket.on("error", () => undefined);
  socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  const [, response] = await asked;
  return { socket, response, done: answer(response) };
}

const reply = () => expect.fail("it was answered at once");

describe("a watch that is not read", () => {
  it("holds what its socket takes, and is cut off after 30 s (Server-Sent Events)", async () => {
    let given = 0;
    const text = `data: ${"x".repeat(64 * 1024)}\n\n`;
    async function* events() {
      for (;;) {
        given += 1;
        yield text;
      }
    }
    const { socket, response, done } = await serve((it) =>
      sendEvents(it, { events: events(), resumed: false }, { clock, reply }),
    );
    socket.pause();
    // As long as the kernel takes something there is no standstill.
    while (!response.destroyed) {
      await clock.advance(limits.watchStalledMs);
      expect(given).toBeLessThan(2_000);
    }
    await done;
  });

  it("is broken off after 30 s, with its cause (gRPC)", async () => {
    const events = async function* () {
      yield { kind: "logs", taskId: "t", cursor: "c", entries: [] } as TaskEvent;
    };
    const coordinator = { watch: () => events() } as unknown as Coordinator;
    const values = createContextValues();
    const causes: unknown[] = [];
    values.set(breakOffKey, (cause) => void causes.push(cause));
    values.set(namespaceKey, "default");
    const method = TaskService.method.watchTasks;
    const context = createHandlerContext({
      service: TaskService,
      method,
      protocolName: "grpc",
      requestMethod: "POST",
      url: "http://x/",
      contextValues: values,
    });
    const request = { taskId: "01980000-0000-7000-8000-000000000000", taskIds: [], cursor: "" };
    const stream = watchTasks(coordinator, clock, request as never, context);
    await stream.next();
    await clock.advance(limits.watchStalledMs - 1);
    expect(causes).toEqual([]);
    await clock.advance(1);
    expect(causes).toEqual([
      expect.objectContaining({ rawMessage: expect.stringMatching(/30000/) }),
    ]);
  });
});

describe("a stream of events that its coordinator ends", () => {
  it("says why, and when to come back after the last id", async () => {
    async function* events() {
      yield "event: status\nid: c1\ndata: {}\n\n";
      throw new DroverError("shutting_down", "this coordinator stops", { retryAfterMs: 0 });
    }
    const { socket, done } = await serve((response) =>
      sendEvents(response, { events: events(), resumed: true }, { clock, reply }),
    );
    let text = "";
    socket.on("data", (bytes: Buffer) => (text += bytes.toString()));
    await Promise.all([done, once(socket, "close")]);
    expect(text).toContain("id: c1\n");
    expect(text).toMatch(/event: error\nretry: 100\ndata: \{"error":\{"code":"shutting_down"/);
  });
});
