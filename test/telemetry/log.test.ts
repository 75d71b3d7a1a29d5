import { Writable } from "node:stream";
import pino from "pino";
import { beforeEach, describe, expect, it } from "vitest";
import { createEvents, type Events } from "../../src/telemetry/events.js";
import { type Logger, logEvents } from "../../src/telemetry/log.js";

let written: string[];
let logger: Logger;
let events: Events;
let end: () => void;

beforeEach(() => {
  written = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written.push((JSON.parse(String(chunk)) as { msg: string }).msg);
      done();
    },
  });
  logger = pino({ level: "info" }, sink);
  events = createEvents();
  end = logEvents(events, logger);
});

/** A debug, an info and a warn event; answers which of them were written. */
function written3(): string[] {
  written = [];
  events.emit("outbox.seen", { partition: 0, entries: 1, oldestMs: 2 });
  events.emit("outbox.drained", { partition: 0, entries: 1 });
  events.emit("loop.failed", { loop: "sweeper", error: new Error("away") });
  return written;
}

describe("the log of events", () => {
  it("holds those that are loud enough, also once its level has changed", () => {
    expect(written3()).toEqual(["outbox.drained", "loop.failed"]);
    logger.level = "debug";
    expect(written3()).toEqual(["outbox.seen", "outbox.drained", "loop.failed"]);
    logger.level = "warn";
    expect(written3()).toEqual(["loop.failed"]);
    logger.level = "silent";
    expect(written3()).toEqual([]);
    logger.level = "trace";
    expect(written3()).toHaveLength(3);
  });

  it("holds none once it is ended", () => {
    end();
    expect(written3()).toEqual([]);
    logger.level = "debug";
    expect(written3()).toEqual([]);
  });
});
