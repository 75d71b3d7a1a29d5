import { connect } from "node:net";
import { Command } from "commander";
import { describe, expect, it, onTestFinished } from "vitest";
import { createMemoryBroker, createMemoryStore } from "../../src/broker/memory-broker.js";
import { addClientCommands } from "../../src/cli/commands.js";
import { createClient, type TaskEvent } from "../../src/client/index.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { loadConfig } from "../../src/config.js";
import { createMemoryHistory } from "../../src/history/memory-history.js";
import { createServer } from "../../src/server.js";
import type { LogEntry } from "../../src/task/log.js";
import { createWorker } from "../../src/worker/index.js";
import { memoryFlags } from "../support/memory-flags.js";
import { fakeTerminal } from "../support/fake-terminal.js";
import { until } from "../support/story.js";
import { quietLogger } from "../support/worker-kit.js";

const clock = systemClock;

/** Coordinators on the same stores. */
function stores() {
  const common = { clock, random: systemRandom };
  const store = createMemoryStore(common);
  const history = createMemoryHistory({ clock });
  return {
    history,
    async coordinator() {
      const broker = createMemoryBroker({ ...common, store });
      // A history that is shared outlives each of them.
      const own = { ...history, stop: async () => undefined };
      Object.defineProperty(own, "available", { get: () => history.available });
      const server = createServer(loadConfig({ env: {}, flags: memoryFlags }), {
        broker,
        history: own,
      });
      await server.start();
      onTestFinished(() => server.stop("the end of a test"));
      return {
        stop: () => server.stop("it is stopped"),
        address: `127.0.0.1:${server.grpcPort}`,
        url: `http://127.0.0.1:${server.httpPort}/api/v1/tasks`,
        httpPort: server.httpPort,
      };
    },
  };
}

const entryOf = (taskId: string, sequence: number, message: string): LogEntry => ({
  taskId,
  fencingToken: 2 ** 40 + 1,
  attempt: 1,
  sequence,
  time: clock.now(),
  level: "info",
  message,
  fields: "",
  dropped: 0,
});

interface Sse {
  readonly event: string;
  readonly id: string;
  readonly data: string;
  readonly retry: string;
}

/** Events as they come, until the stream ends or the reader does. */
async function* sse(url: string, lastEventId = ""): AsyncGenerator<Sse> {
  const headers: Record<string, string> = lastEventId ? { "last-event-id": lastEventId } : {};
  const reply = await fetch(url, { headers });
  let text = "";
  for await (const bytes of reply.body!.pipeThrough(new TextDecoderStream())) {
    text += bytes;
    const blocks = text.split("\n\n");
    text = blocks.pop()!;
    for (const block of blocks) {
      if (!block.startsWith("event: ")) continue;
      const fields = block.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2));
      yield { id: "", data: "", retry: "", ...Object.fromEntries(fields) } as Sse;
    }
  }
}

const words = (events: readonly Sse[]): string[] =>
  events.flatMap(({ event, data }) => {
    const told = JSON.parse(data) as {
      status?: { status: string };
      logs?: { entries: { message: string }[] };
    };
    if (event === "status") return [told.status!.status];
    return event === "logs" ? told.logs!.entries.map(({ message }) => message) : [];
  });

describe("a watch over Server-Sent Events", () => {
  it("is ended by a coordinator that stops, and goes on elsewhere without a gap", async () => {
    const shared = stores();
    const [here, there] = [await shared.coordinator(), await shared.coordinator()];
    const worker = createWorker({ address: there.address, logger: quietLogger });
    onTestFinished(() => worker.stop({ graceMs: 0 }));
    let goOn = () => undefined as void;
    const going = new Promise<void>((resolve) => (goOn = resolve));
    worker.handle("count", async (_payload, context) => {
      context.log("info", "one");
      await going;
      context.log("info", "two");
    });
    await worker.start();
    const client = createClient({ address: there.address });
    onTestFinished(() => client.close({ graceMs: 0 }));
    const { id } = await client.submit("count", null);
    const first: Sse[] = [];
    let stopped: Promise<void> | undefined;
    for await (const event of sse(`${here.url}/${id}/watch`)) {
      first.push(event);
      if (words([event]).includes("one")) stopped = here.stop();
    }
    const last = first.pop()!;
    expect(last).toMatchObject({ event: "error", retry: "100" });
    expect(JSON.parse(last.data)).toMatchObject({ error: { code: "shutting_down" } });
    goOn();
    const rest: Sse[] = [];
    for await (const event of sse(`${there.url}/${id}/watch`, first.at(-1)!.id)) rest.push(event);
    expect(words([...first, ...rest])).toEqual(["pending", "running", "one", "two", "completed"]);
    expect(rest.at(-1)).toMatchObject({ event: "end" });
    await stopped;
  });
});

describe("a watcher that does not read", () => {
  it("has no more made than its stream takes, is in nobody's way, and goes on", async () => {
    const shared = stores();
    const { history } = shared;
    let read = 0;
    const logs = history.logs.bind(history);
    history.logs = async (query) => {
      const entries = await logs(query);
      read += entries.length;
      return entries;
    };
    const { httpPort, address } = await shared.coordinator();
    const client = createClient({ address });
    onTestFinished(() => client.close({ graceMs: 0 }));
    const { id } = await client.submit("nobody_handles_it", null);
    const most = 10_000;
    const message = "x".repeat(4_000);
    await history.addLogs(Array.from({ length: most }, (_, n) => entryOf(id, n + 1, message)));

    const silent = connect(httpPort, "127.0.0.1");
    onTestFinished(() => void silent.destroy());
    silent.pause();
    silent.write(`GET /api/v1/tasks/${id}/watch HTTP/1.1\r\nhost: x\r\n\r\n`);
    let before = -1;
    const still = async () => before === read || void (before = read);
    await until("it stands still", async () => read > 0 && (await still()), 10_000);
    expect(read).toBeLessThan(most / 2);

    // Another one hears all of it meanwhile, breaks off in the middle, and goes on.
    const heard: number[] = [];
    const note = (event: TaskEvent): void => {
      if (event.type === "logs") heard.push(...event.entries.map(({ sequence }) => sequence));
    };
    let cursor = "";
    for await (const event of client.watch(id)) {
      note(event);
      cursor = event.cursor;
      if (heard.length >= most / 2) break;
    }
    for await (const event of client.watch(id, { cursor })) {
      note(event);
      if (heard.length === most) break;
    }
    expect(heard).toEqual(Array.from({ length: most }, (_, n) => n + 1));
  });
});

describe("drover task", () => {
  async function following(args: (id: string) => string[]) {
    const { address } = await stores().coordinator();
    const client = createClient({ address });
    onTestFinished(() => client.close({ graceMs: 0 }));
    const { id } = await client.submit("steps", null);
    const terminal = fakeTerminal();
    const program = new Command("drover");
    addClientCommands(program, { terminal, connect: createClient, clock });
    const ended = program.parseAsync([...args(id), "--addr", address], { from: "user" });
    const worker = createWorker({ address, logger: quietLogger });
    onTestFinished(() => worker.stop({ graceMs: 0 }));
    worker.handle("steps", (_payload, context) => {
      context.log("info", "first", { n: 1 });
      context.progress(0.5, "half");
      context.log("warn", "second");
    });
    await worker.start();
    await ended;
    return terminal;
  }

  it("watch follows a task from its beginning to its end", async () => {
    const { lines, code } = await following((id) => ["task", "watch", id, "--json"]);
    const events = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    const statuses = events.flatMap(({ type, status }) => (type === "status" ? [status] : []));
    expect(statuses).toEqual(["pending", "running", "completed"]);
    expect(events.filter(({ type }) => type === "logs").length).toBeGreaterThan(0);
    expect(code).toBe(0);
  });

  it("logs --follow shows entries as they come, and ends with the task", async () => {
    const { lines, code } = await following((id) => ["task", "logs", id, "--follow"]);
    expect(lines.map((line) => line.replace(/^\S+ /, ""))).toEqual([
      '#1 info  first {"n":1}',
      "#1 warn  second",
    ]);
    expect(code).toBe(0);
  });
});
