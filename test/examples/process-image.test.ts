import { readdirSync, readFileSync } from "node:fs";
import * as path from "node:path";
import sharp from "sharp";
import { expect, test } from "vitest";
import { createGuardedFetch } from "../../examples/fetch/guarded-fetch.js";
import { createProcessImage } from "../../examples/handlers/process-image.js";
import { start } from "../../examples/servers/sample-server.js";
import {
  afterTest,
  contextOf,
  failureOf,
  taskId,
  temporaryFolder,
  testServer,
} from "./example-context.js";

async function world() {
  const sample = await start({ secret: "unused" });
  afterTest(() => sample.stop());
  const folder = temporaryFolder();
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${sample.port}` });
  const image_url = `${sample.url}/photo.jpg`;
  return { folder, image_url, sample, handler: createProcessImage({ fetch, folder }) };
}

/** A handler whose source is whatever this returns. */
const handlerOf = (body: Buffer, folder: string, status = 200) =>
  createProcessImage({
    fetch: async () => ({ status, headers: {}, body, from: "http://source.example/" }),
    folder,
  });
const resize = { image_url: "http://source.example/", operation: "resize" };

test("the sample task's image is fetched, made 320 wide and written", async () => {
  const { handler, folder, image_url } = await world();
  const result = await handler.handle({ image_url, operation: "resize" }, contextOf());
  const file = readFileSync(result.path);
  expect(result).toMatchObject({
    path: path.join(folder, `${taskId}.jpeg`),
    width: 320,
    height: 240,
    bytes: file.length,
    format: "jpeg",
  });
  expect(result.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(await sharp(file).metadata()).toMatchObject({ width: 320, height: 240, format: "jpeg" });
});

test.each([
  [{ width: 100 }, { width: 100, height: 75 }],
  [{ height: 60 }, { width: 80, height: 60 }],
  [
    { width: 50, height: 50 },
    { width: 50, height: 50 },
  ],
  [{ format: "webp" }, { width: 320, height: 240, format: "webp" }],
  [{ operation: "rotate" }, { width: 600, height: 800 }],
  [
    { operation: "rotate", angle: 180, width: 80 },
    { width: 80, height: 60 },
  ],
  [
    { operation: "convert", format: "png" },
    { width: 800, height: 600, format: "png" },
  ],
  [
    { operation: "convert", format: "avif", width: 40 },
    { width: 40, height: 30, format: "avif" },
  ],
])("%j gives %j", async (asked, expected) => {
  const { handler, image_url } = await world();
  const result = await handler.handle({ image_url, operation: "resize", ...asked }, contextOf());
  expect(result).toMatchObject(expected);
  const seen = await sharp(readFileSync(result.path)).metadata();
  expect([seen.width, seen.height]).toEqual([expected.width, expected.height]);
});

test("the same task run again replaces its own file with the same one", async () => {
  const { handler, folder, image_url } = await world();
  const payload = { image_url, operation: "resize" };
  const first = await handler.handle(payload, contextOf());
  const second = await handler.handle(payload, contextOf({ fencingToken: 2 }));
  expect(second).toEqual(first);
  expect(readdirSync(folder)).toEqual([`${taskId}.jpeg`]);
});

test("a photo taken upright stays upright", async () => {
  const sideways = await sharp({
    create: { width: 40, height: 20, channels: 3, background: "red" },
  })
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toBuffer();
  const { handle } = handlerOf(sideways, temporaryFolder());
  expect(await handle({ ...resize, width: 10 }, contextOf())).toMatchObject({
    width: 10,
    height: 20,
  });
});

test.each([
  ["image_url", { operation: "resize" }],
  ["image_url", { image_url: 5, operation: "resize" }],
  ["operation", { image_url: resize.image_url }],
  ["operation", { ...resize, operation: "shred" }],
  ["width", { ...resize, width: 0 }],
  ["width", { ...resize, width: 1.5 }],
  ["width", { ...resize, width: "320" }],
  ["height", { ...resize, height: 10_000 }],
  ["format", { ...resize, operation: "convert" }],
  ["format", { ...resize, format: "../../etc" }],
  ["angle", { ...resize, operation: "rotate", angle: 1e9 }],
  ["width", { ...resize, width: 8192, height: 8192 }],
])("a bad %s is refused for good, by name", async (field, payload) => {
  const source = await sharp({ create: { width: 4, height: 4, channels: 3, background: "red" } })
    .png()
    .toBuffer();
  const folder = temporaryFolder();
  const work = handlerOf(source, folder).handle(payload, contextOf());
  const { message } = await failureOf(work, "invalid_payload", false);
  expect(message).toContain(`payload.${field}: `);
  expect(readdirSync(folder)).toEqual([]);
});

test.each([
  ["a page", Buffer.from("<html>hello</html>")],
  ["nothing", Buffer.alloc(0)],
  ["a drawing", Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`)],
  ["a picture cut short", Buffer.from("89504e470d0a1a0a0000000d49484452000000ff", "hex")],
])("%s is no image, now and at every retry", async (_what, body) => {
  const folder = temporaryFolder();
  await failureOf(handlerOf(body, folder).handle(resize, contextOf()), "not_an_image", false);
  expect(readdirSync(folder)).toEqual([]);
});

test("an image of too many pixels is not unpacked", async () => {
  // 64 million pixels in a few kilobytes.
  const bomb = await sharp({
    create: { width: 8000, height: 8000, channels: 3, background: "white" },
  })
    .png()
    .toBuffer();
  const work = handlerOf(bomb, temporaryFolder()).handle(resize, contextOf());
  const { message } = await failureOf(work, "not_an_image", false);
  expect(message).toContain("pixel limit");
});

test.each([
  [404, false],
  [403, false],
  [429, true],
  [503, true],
])("a source that answers %i: worth another attempt is %s", async (status, retryable) => {
  const { handle } = handlerOf(Buffer.alloc(0), temporaryFolder(), status);
  await failureOf(handle(resize, contextOf()), "fetch_failed", retryable);
});

test("an address that payloads must not reach is not fetched", async () => {
  const server = await testServer((_request, response) => response.end());
  const handler = createProcessImage({ fetch: createGuardedFetch(), folder: temporaryFolder() });
  const work = handler.handle({ image_url: server.url, operation: "resize" }, contextOf());
  await failureOf(work, "fetch_refused", false);
  expect(server.connections()).toBe(0);
});

test("the task's signal ends it while it fetches, and while it renders, and no file is left", async () => {
  const stop = new AbortController();
  const hanging = await testServer(() => stop.abort(new Error("lease lost")));
  const folder = temporaryFolder();
  const fetch = createGuardedFetch({ allow: `127.0.0.1:${hanging.port}` });
  const fetching = createProcessImage({ fetch, folder });
  const payload = { image_url: hanging.url, operation: "resize" };
  const aborted = fetching.handle(payload, contextOf({ signal: stop.signal }));
  await expect(aborted).rejects.toThrow("lease lost");

  const { handler, image_url } = await world();
  const late = new AbortController();
  const progress = () => late.abort(new Error("cancelled"));
  const work = handler.handle(
    { image_url, operation: "resize" },
    contextOf({ signal: late.signal, progress }),
  );
  await expect(work).rejects.toThrow("cancelled");
  expect(readdirSync(folder)).toEqual([]);
});

test("a task id that is no file name writes nothing", async () => {
  const { handler, image_url } = await world();
  const work = handler.handle(
    { image_url, operation: "resize" },
    contextOf({ taskId: "../../escape" }),
  );
  await failureOf(work, "invalid_task_id", false);
});
