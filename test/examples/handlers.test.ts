import { loadHandlers } from "drover/worker";
import { afterEach, expect, test, vi } from "vitest";
import { demoTasks } from "../../examples/demo-tasks.js";
import { startDevWorld } from "../../examples/dev-world.js";
import { afterTest, contextOf, temporaryFolder } from "./example-context.js";

afterEach(() => vi.unstubAllEnvs());

test("the folder of sample handlers loads as a worker loads it, one for each sample task", async () => {
  const handlers = await loadHandlers("examples/handlers");
  const types = handlers.map(({ type }) => type).toSorted();
  expect(types).toEqual(["call_webhook", "export_data", "process_image", "send_email"]);
  const tasks = demoTasks("http://127.0.0.1:1");
  expect(tasks.map(({ type }) => type).toSorted()).toEqual(types);
});

test("sample tasks have the payloads the contract shows", () => {
  const [email, image, webhook, data] = demoTasks("http://sample");
  expect(email).toEqual({
    type: "send_email",
    priority: 2,
    payload: {
      recipient: "user@example.com",
      subject: "Hello World",
      body: "This is a test email",
    },
    max_retries: 3,
  });
  expect(image?.payload).toEqual({ image_url: "http://sample/photo.jpg", operation: "resize" });
  expect(data?.payload).toEqual({ format: "csv", filters: {} });
  expect(Object.keys(webhook?.payload ?? {})).toEqual(["url", "method", "body"]);
});

test("in the dev world, handlers as they are loaded do the sample tasks by environment alone", async () => {
  const world = await startDevWorld({ dataDir: temporaryFolder() });
  afterTest(() => world.stop());
  for (const [name, value] of Object.entries(world.env)) vi.stubEnv(name, value);
  const handlers = await loadHandlers("examples/handlers");
  const run = async (type: string) => {
    const task = demoTasks(world.sampleUrl).find((candidate) => candidate.type === type);
    const handler = handlers.find((candidate) => candidate.type === type);
    return await handler?.handle(task?.payload, contextOf() as never);
  };
  expect(await run("send_email")).toMatchObject({ accepted: ["user@example.com"] });
  expect(await run("call_webhook")).toMatchObject({ status: 200 });
  const image = (await run("process_image")) as { path: string };
  expect(image.path.startsWith(world.env.DROVER_OUTPUT_DIR)).toBe(true);
});

test("the dev world lets payloads reach its own two servers and nothing else, and stops whole", async () => {
  const world = await startDevWorld({ dataDir: temporaryFolder() });
  const hosts = [world.sampleUrl, world.mailUrl].map((url) => new URL(url).host);
  expect(world.env.DROVER_FETCH_ALLOW.split(",")).toEqual(hosts);
  await world.stop();
  await expect(fetch(world.sampleUrl)).rejects.toThrow("fetch failed");
  await expect(fetch(world.mailUrl)).rejects.toThrow("fetch failed");
});
