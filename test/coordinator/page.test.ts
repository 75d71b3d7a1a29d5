import { afterEach, beforeEach, expect, it } from "vitest";
import type { Coordinator, Page } from "../../src/coordinator/coordinator.js";
import { encodePageToken } from "../../src/coordinator/page.js";
import { createWorld, type World } from "./world.js";

let world: World;
beforeEach(() => {
  world = createWorld();
});
afterEach(async () => {
  await world.stop();
});

const nobody = "0192f0c1-2345-7abc-8def-0123456789ab";
type List = (coordinator: Coordinator, page: Page) => Promise<unknown>;
const lists = {
  batches: ({ batches }, page) => batches.list("default", page),
  queues: (coordinator, page) => coordinator.queues("default", page),
  schedules: ({ schedules }, page) => schedules.list("default", page),
  workers: (coordinator, page) => coordinator.workers("default", page),
} satisfies Record<string, List>;

// What stood there went to Postgres, which knows no such id, name or number.
it.each<[keyof typeof lists, string]>([
  ["batches", "no id"],
  ["batches", `${nobody} `],
  ["queues", "a\0b"],
  ["schedules", "a\0b"],
])("%s are not listed from %j on", async (list, after) => {
  const { coordinator } = await world.node();
  const pageToken = encodePageToken(list, after);
  await expect(lists[list](coordinator, { pageSize: 5, pageToken })).rejects.toMatchObject({
    id: "invalid_page_token",
    field: "page_token",
  });
});

it.each(["1e400 1", "1.5 1", "-1 1", "1", "a b"])(
  "logs are not listed from %j on",
  async (after) => {
    const { coordinator } = await world.node();
    const pageToken = encodePageToken(`logs ${nobody}`, after);
    const page = { pageSize: 5, pageToken };
    await expect(coordinator.logs("default", nobody, undefined, page)).rejects.toMatchObject({
      id: "invalid_page_token",
    });
  },
);

it("lists go on from what one of their tokens says, and from no other's", async () => {
  const { coordinator } = await world.node();
  for (const [list, after] of [
    ["batches", nobody],
    ["queues", "mail"],
    ["workers", "w x"],
  ] as const) {
    const page = { pageSize: 5, pageToken: encodePageToken(list, after) };
    await lists[list](coordinator, page);
    await expect(lists.schedules(coordinator, page)).rejects.toThrow("page_token");
  }
});
