import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import sharp from "sharp";
import { expect, test } from "vitest";
import { demoTasks } from "../../examples/demo-tasks.js";
import { startDevWorld } from "../../examples/dev-world.js";
import { checkEffects, countBySql, type FinishedTask } from "../../examples/effects.js";
import { createGuardedFetch } from "../../examples/fetch/guarded-fetch.js";
import { createCallWebhook } from "../../examples/handlers/call-webhook.js";
import { createExportData, type ExportDataResult } from "../../examples/handlers/export-data.js";
import { createProcessImage } from "../../examples/handlers/process-image.js";
import { createSendEmail } from "../../examples/handlers/send-email.js";
import type { TaskRow } from "../../examples/lib/task-rows.js";
import { systemClock, systemRandom } from "../../src/clock.js";
import { createPostgresHistory } from "../../src/history/postgres/postgres-history.js";
import { createTaskFactory } from "../support/task-factory.js";
import { freshSchema, sharedPostgres } from "../support/stores.js";
import { afterTest, contextOf, temporaryFolder } from "./example-context.js";

type Name = "mail" | "image" | "export" | "webhook";
const idOf = (number: number) => `0190a6f2-0000-7000-8000-00000000000${number}`;

/** What a test breaks: the worker does its work with these instead. */
interface Sabotage {
  subject?: string;
  image?: Record<string, unknown>;
  secret?: string;
  rows?: number;
  skip?: string;
}

/**
 * The four sample tasks, done by the real handlers against the real servers, and the look from
 * outside.
 */
async function demo(sabotage: Sabotage = {}) {
  const folder = temporaryFolder();
  const world = await startDevWorld({ dataDir: folder });
  afterTest(() => world.stop());
  const fetch = createGuardedFetch({ allow: world.env.DROVER_FETCH_ALLOW });
  const rows = Array.from({ length: sabotage.rows ?? 4 }, (_, at) => ({ id: idOf(4 - at) }));
  const handlers = [
    createSendEmail({ smtpUrl: world.env.SMTP_URL }),
    createProcessImage({ fetch, folder }),
    createCallWebhook({ fetch, secret: sabotage.secret ?? world.env.WEBHOOK_SECRET }),
    createExportData({
      folder,
      open: () => ({
        page: async () => ({ rows: rows as TaskRow[], nextPageToken: "" }),
        close: async () => undefined,
      }),
    }),
  ];
  const tasks: FinishedTask[] = [];
  for (const [at, { type, payload }] of demoTasks(world.sampleUrl).entries()) {
    const id = idOf(at + 1);
    const done = { ...payload };
    if (type === "send_email" && sabotage.subject) done["subject"] = sabotage.subject;
    if (type === "process_image") Object.assign(done, sabotage.image);
    const handler = handlers.find((candidate) => candidate.type === type);
    const work =
      type === sabotage.skip ? undefined : handler?.handle(done, contextOf({ taskId: id }));
    const result = await work?.catch((error: unknown) => ({ error }));
    tasks.push({ id, type, payload, result });
  }
  const look = async (countTasks = async () => 4) => {
    const effects = await checkEffects(tasks, { ...world, countTasks });
    return Object.fromEntries(effects.map((effect) => [effect.name, effect])) as Record<
      Name,
      (typeof effects)[number]
    >;
  };
  const resultOf = <T>(type: string) => tasks.find((task) => task.type === type)?.result as T;
  return { tasks, look, resultOf, world };
}

type Seen = Awaited<ReturnType<Awaited<ReturnType<typeof demo>>["look"]>>;

/** Only this effect is missing, and the evidence says why. */
async function expectBroken(name: Name, why: RegExp, effects: Promise<Seen>) {
  const seen = await effects;
  const broken = Object.values(seen).filter(({ ok }) => !ok);
  expect(broken).toEqual([{ name, ok: false, evidence: expect.stringMatching(why) as string }]);
}

test("all four effects of the sample tasks are seen from outside", async () => {
  const { look } = await demo();
  const seen = await look();
  expect(seen).toMatchObject({
    mail: { ok: true, evidence: `the catcher holds "Hello World" to user@example.com` },
    image: { ok: true, evidence: expect.stringContaining("800x600 became 320x240") as string },
    export: { ok: true, evidence: expect.stringContaining("holds 4 tasks") as string },
    webhook: { ok: true, evidence: "the receiver verified the signature of POST /hooks" },
  });
});

test("a mail with another subject is not the one asked for", async () => {
  const { look } = await demo({ subject: "Goodbye" });
  await expectBroken("mail", /subject "Goodbye", not "Hello World"/, look());
});

test("a mail that was never sent is missed, though the task says it was", async () => {
  const { look } = await demo({ skip: "send_email" });
  await expectBroken("mail", /none of 0 caught mails/, look());
});

test.each([
  [{ width: 800 }, /it is 800x600, not 320x240/],
  [{ width: 321 }, /it is 321x241, not 320x240/],
  [{ width: 320, height: 320 }, /it is 320x320, not 320x240/],
])("an image made %j is not of the size asked for", async (image, why) => {
  const { look } = await demo({ image });
  await expectBroken("image", why, look());
});

test("an image that was not processed, or not by the worker, is not the effect", async () => {
  const { look, resultOf, tasks, world } = await demo();
  const result = resultOf<{ path: string; sha256: string }>("process_image");
  const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex");
  const source = Buffer.from(await (await fetch(`${world.sampleUrl}/photo.jpg`)).arrayBuffer());

  writeFileSync(result.path, source);
  await expectBroken("image", /sha256 differs/, look());
  result.sha256 = sha256(source);
  await expectBroken("image", /is the source, unchanged/, look());

  const truncated = (await sharp(source).resize(320).jpeg().toBuffer()).subarray(0, 900);
  writeFileSync(result.path, truncated);
  result.sha256 = sha256(truncated);
  await expectBroken("image", /premature|VipsJpeg/i, look());

  const again = await sharp(source).resize(800).jpeg({ quality: 10 }).toBuffer();
  writeFileSync(result.path, again);
  result.sha256 = sha256(again);
  const image = tasks.find(({ type }) => type === "process_image");
  Object.assign(image?.payload as object, { width: 800 });
  await expectBroken("image", /has the size of its source/, look());
});

test("an export with a row too few or too many is not the effect", async () => {
  const { look } = await demo();
  await expectBroken(
    "export",
    /it has 4 rows, and 5 were counted/,
    look(async () => 5),
  );
  await expectBroken(
    "export",
    /it has 4 rows, and 3 were counted/,
    look(async () => 3),
  );
});

test("an export that lost a row after it was written, or never had it, is not the effect", async () => {
  const { look, resultOf } = await demo();
  const result = resultOf<ExportDataResult>("export_data");
  const lines = readFileSync(result.path, "utf8").split("\r\n");
  const rewrite = (kept: string[]) => {
    writeFileSync(result.path, kept.join("\r\n"));
    result.sha256 = createHash("sha256").update(kept.join("\r\n")).digest("hex");
  };
  writeFileSync(result.path, lines.toSpliced(3, 1).join("\r\n"));
  await expectBroken("export", /sha256 differs/, look());
  rewrite(lines.toSpliced(3, 1));
  await expectBroken("export", /it has 3 rows, and 4 were counted/, look());
  rewrite(lines.toSpliced(1, 1));
  await expectBroken("export", /the export itself is missing/, look());
  rewrite(lines.toSpliced(3, 1, lines[2] ?? ""));
  await expectBroken("export", /a task stands in it twice/, look());
  rewrite(lines.slice(1));
  await expectBroken("export", /the header is/, look());
});

test("a webhook signed with another secret is not the effect", async () => {
  const { look } = await demo({ secret: "another" });
  await expectBroken("webhook", /did not verify the signature: signature does not match/, look());
});

test("a webhook that was never called is missed", async () => {
  const { look } = await demo({ skip: "call_webhook" });
  await expectBroken("webhook", /none of 0 received webhooks/, look());
});

test("a task that is missing altogether is a missing effect, not a pass", async () => {
  const effects = await checkEffects([], {
    mailUrl: "http://127.0.0.1:1",
    sampleUrl: "http://127.0.0.1:1",
    countTasks: async () => 0,
  });
  expect(effects.map(({ ok }) => ok)).toEqual([false, false, false, false]);
});

test("tasks are counted in Postgres itself, up to an id and in one namespace", async () => {
  const { url } = await sharedPostgres();
  const schema = freshSchema();
  const history = createPostgresHistory({ url, schema });
  afterTest(() => history.stop());
  await history.start();
  const factory = createTaskFactory(systemRandom, () => systemClock.now());
  const tasks = [factory.task(), factory.task(), factory.task()].toSorted((a, b) =>
    a.id < b.id ? -1 : 1,
  );
  await history.insert(tasks);
  const { namespace } = tasks[0]!;
  const count = countBySql({ databaseUrl: url, schema, namespace });
  expect(await count(tasks[1]!.id)).toBe(2);
  expect(await count(tasks[2]!.id)).toBe(3);
  const elsewhere = countBySql({ databaseUrl: url, schema, namespace: "elsewhere" });
  expect(await elsewhere(tasks[2]!.id)).toBe(0);
});
