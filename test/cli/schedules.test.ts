import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { addClientCommands } from "../../src/cli/commands.js";
import { createClient, type Client } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { loadConfig } from "../../src/config.js";
import { createServer } from "../../src/server.js";
import { fakeTerminal, type FakeTerminal } from "../support/fake-terminal.js";

const flags = { broker: "memory", history: "memory", grpc_port: 0, http_port: 0 };
const server = createServer(loadConfig({ env: {}, flags: { ...flags, log_level: "silent" } }));
let client: Client;
let address = "";
let folder = "";

beforeAll(async () => {
  await server.start();
  address = `127.0.0.1:${server.grpcPort}`;
  client = createClient({ address });
});
afterAll(async () => {
  await client.close();
  await server.stop("the end of the test");
});
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "drover-schedules-"));
});
afterEach(async () => {
  rmSync(folder, { recursive: true });
  for await (const { name } of client.schedules.list()) await client.schedules.delete(name);
});

async function drover(...args: string[]): Promise<FakeTerminal> {
  const terminal = Object.assign(fakeTerminal(), { read: (source: string) => readFile(source) });
  const program = new Command("drover");
  addClientCommands(program, { terminal, connect: createClient, clock: systemClock });
  await program.parseAsync([...args, "--addr", address], { from: "user" });
  return terminal;
}
const json = async (...args: string[]): Promise<Record<string, unknown>> =>
  JSON.parse((await drover(...args, "--json")).lines.join("")) as Record<string, unknown>;

function file(text: string): string {
  const name = path.join(folder, "schedules.yaml");
  writeFileSync(name, text);
  return name;
}
const failure = (call: Promise<unknown>): Promise<Error> =>
  call.then(
    () => expect.fail("it was taken"),
    (error: unknown) => error as Error,
  );

const nightly = `schedules:
  - name: nightly
    cron: "30 2 * * *"
    time_zone: Europe/Berlin
    task: { type: report, payload: { kind: daily, parts: [1, 2] }, priority: 2 }
  - name: often
    every: 90s
    overlap_policy: allow_all
    task:
      type: ping
`;

describe("client.schedules", () => {
  it("makes, reads, changes, steers and deletes a schedule", async () => {
    const task = { type: "report", payload: { kind: "daily" }, priority: 2, tags: ["t"] } as const;
    const wanted = { name: "sdk", cron: "@daily", timeZone: "Asia/Tokyo", task, jitterMs: 1_500 };
    const made = await client.schedules.create(wanted);
    expect(made).toMatchObject({
      ...wanted,
      overlapPolicy: "skip",
      paused: false,
      everyMs: undefined,
    });
    const { etag } = made;
    const slower = { ...wanted, cron: "@weekly", note: "slower", etag };
    expect(await client.schedules.update(slower)).toMatchObject({
      cron: "@weekly",
      note: "slower",
    });
    await expect(client.schedules.update(slower)).rejects.toMatchObject({ id: "stale_schedule" });
    const paused = await client.schedules.pause("sdk", { note: "holiday" });
    expect(paused).toMatchObject({ paused: true, note: "holiday", nextTickAt: undefined });
    expect(await client.schedules.resume("sdk")).toMatchObject({ paused: false, note: "holiday" });
    const { id } = await client.schedules.trigger("sdk");
    expect(await client.get(id)).toMatchObject({ type: "report", payload: { kind: "daily" } });
    const [start, end] = [new Date("2020-03-01T00:00:00Z"), new Date("2020-03-15T00:00:00Z")];
    const filled = await client.schedules.backfill("sdk", { start, end });
    expect(filled.taskIds).toHaveLength(2);
    expect(await client.schedules.backfill("sdk", { start, end })).toMatchObject({
      taskIds: [],
      ticksExisting: 2,
    });
    const after = await client.schedules.get("sdk");
    expect(after.recentTicks.map(({ cause }) => cause)).toEqual([
      "trigger",
      "backfill",
      "backfill",
    ]);
    expect(after.ticksTaken).toBe(3);
    const ticks = await client.schedules.preview("sdk", { count: 2 });
    expect(ticks.map(({ local }) => local.slice(10))).toEqual([
      "T00:00:00+09:00",
      "T00:00:00+09:00",
    ]);
    await client.schedules.delete("sdk");
    await expect(client.schedules.get("sdk")).rejects.toMatchObject({ id: "schedule_not_found" });
  });
});

describe("drover schedule apply", () => {
  it("makes what the file says, and a second time changes nothing", async () => {
    const first = await drover("schedule", "apply", file(nightly));
    expect(first.lines.filter((line) => !line.startsWith(" "))).toEqual([
      "+ nightly",
      "+ often",
      "2 created, 0 updated, 0 deleted, 0 unchanged",
    ]);
    const again = await drover("schedule", "apply", file(nightly));
    expect(again.lines).toEqual([
      "= nightly",
      "= often",
      "0 created, 0 updated, 0 deleted, 2 unchanged",
    ]);
    expect(await client.schedules.get("nightly")).toMatchObject({
      task: { type: "report", payload: { kind: "daily", parts: [1, 2] }, priority: 2 },
    });
  });

  it("shows what differs, field by field, and keeps a pause that it does not name", async () => {
    await drover("schedule", "apply", file(nightly));
    await client.schedules.pause("nightly", { note: "holiday" });
    const changed = nightly.replace("30 2 * * *", "0 3 * * *").replace("daily", "weekly");
    const dry = await drover("schedule", "apply", file(changed), "--dry-run");
    expect(dry.lines).toEqual([
      "~ nightly",
      '    cron: "30 2 * * *" -> "0 3 * * *"',
      '    task.payload: {"kind":"daily","parts":[1,2]} -> {"kind":"weekly","parts":[1,2]}',
      "= often",
      "0 created, 1 updated, 0 deleted, 1 unchanged (dry run: nothing was changed)",
    ]);
    expect(await client.schedules.get("nightly")).toMatchObject({ cron: "30 2 * * *" });
    await drover("schedule", "apply", file(changed));
    const after = await client.schedules.get("nightly");
    expect(after).toMatchObject({ cron: "0 3 * * *", paused: true, note: "holiday" });
  });

  it("deletes what the file does not name only with --prune", async () => {
    await drover("schedule", "apply", file(nightly));
    const one = nightly.slice(0, nightly.indexOf("  - name: often"));
    const kept = await json("schedule", "apply", file(one));
    expect(kept).toMatchObject({ dry_run: false, deleted: 0, unchanged: 1 });
    const pruned = await json("schedule", "apply", file(one), "--prune");
    expect(pruned).toMatchObject({
      deleted: 1,
      changes: [{}, { name: "often", action: "delete" }],
    });
    expect((await json("schedule", "list"))["schedules"]).toHaveLength(1);
    const { message } = await failure(
      drover("schedule", "apply", file("schedules: []\n"), "--prune"),
    );
    expect(message).toMatch(/expected a schedule beside --prune, got none/);
    expect((await json("schedule", "list"))["schedules"]).toHaveLength(1);
  });

  it("tells of every mistake with its line, and changes nothing", async () => {
    const bad = `schedules:
  - name: a
    every: often
    task: { type: t, colour: red }
  - name: b
    crom: "* * * * *"
    task: { type: t }
  - name: c
    task: {}
`;
    const { message } = await failure(drover("schedule", "apply", file(bad)));
    expect(message.split("\n").map((line) => line.replace(/^.*schedules.yaml/, ""))).toEqual([
      expect.stringMatching(/^:3:5: schedules\[0\]\.every: expected a duration/),
      expect.stringMatching(/^:4:11: schedules\[0\]\.task: .*colour/),
      expect.stringMatching(/^:5:5: schedules\[1\]: .*crom/),
      expect.stringMatching(/^:9:11: schedules\[2\]\.task\.type: /),
    ]);
  });

  it("has the coordinator judge every schedule before it changes one", async () => {
    const bad = nightly.replace("30 2", "99 2").replace("every: 90s", "every: 100ms");
    const { message } = await failure(drover("schedule", "apply", file(bad)));
    expect(message).toMatch(/:3:5: schedule\.cron: .*minute: 99/);
    expect(message).toMatch(/:7:5: schedule\.every: /);
    expect((await json("schedule", "list"))["schedules"]).toEqual([]);
  });

  it.each([
    ["a: [1", /:1:\d+: /],
    ["[]", /:1:1: file: /],
    ["schedules: 5", /schedules: /],
    [nightly.replace("often", "nightly"), /"nightly" is there twice/],
  ])("%j is no file of schedules", async (text, what) => {
    expect((await failure(drover("schedule", "apply", file(text)))).message).toMatch(what);
  });
});

describe("the other commands", () => {
  it("list, get, preview, pause, resume, trigger, backfill, delete", async () => {
    await drover("schedule", "apply", file(nightly));
    expect((await drover("schedule", "list")).lines[0]).toMatch(
      /^nightly\t30 2 \* \* \* Europe\/Berlin\treport\topen\t/,
    );
    const facts = (await drover("schedule", "pause", "nightly", "--note", "x")).lines;
    expect(facts).toContain("state\tpaused");
    await drover("schedule", "resume", "nightly");
    const [id] = (await drover("schedule", "trigger", "nightly")).lines;
    expect(await client.get(id!)).toMatchObject({ type: "report", priority: 2 });
    const after = "2026-03-28T12:00:00Z";
    const ticks = await drover("schedule", "preview", "nightly", "-n", "1", "--after", after);
    expect(ticks.lines).toEqual(["2026-03-29T01:00:00.000Z\t2026-03-29T03:00:00+02:00"]);
    const range = ["--start", "2020-03-02T00:00:00Z", "--end", "2020-03-04T00:00:00Z"];
    expect((await drover("schedule", "backfill", "nightly", ...range)).lines).toHaveLength(2);
    const got = await json("schedule", "get", "nightly");
    expect(got).toMatchObject({ name: "nightly", catch_up_window: "3600s", ticks_taken: 3 });
    expect((await drover("schedule", "delete", "nightly")).lines).toEqual(["deleted nightly"]);
    const gone = await failure(drover("schedule", "get", "nightly"));
    expect(gone).toMatchObject({ id: "schedule_not_found" });
  });
});
