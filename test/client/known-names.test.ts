import { expect, it, onTestFinished } from "vitest";
import { createClient } from "../../src/client/index.js";
import { createWorker } from "../../src/worker/index.js";

/** As a program in JavaScript may write them. */
const wrong = <T>(value: unknown): T => value as T;

/** Nobody listens there: what is refused is refused here. */
function clientOfNobody() {
  const client = createClient({ address: "127.0.0.1:1" });
  onTestFinished(() => client.close({ graceMs: 0 }));
  return client;
}

it.each([
  ["delay", { delay: 5_000 }, /Did you mean delayMs\?/],
  ["maxretries", { queue: "mail", maxretries: 1 }, /Did you mean maxRetries\?/],
  ["attempts", { attempts: 3 }, /Known are queue, priority, .*, timeoutMs\./],
])("submits nothing with the option %s, which there is not", async (name, options, hint) => {
  await expect(clientOfNobody().submit("send", {}, wrong(options))).rejects.toMatchObject({
    id: "invalid_field",
    field: `options.${name}`,
    message: `options.${name}: there is no such option`,
    hint: expect.stringMatching(hint),
  });
});

it("refuses of many those alone that have a part which there is not", async () => {
  const parts = wrong<{ type: string; payload: unknown }[]>([
    { type: "a", payload: {}, queue: "mail" },
    { type: "b", payload: {}, option: { queue: "mail" } },
    { type: "c", payload: {}, options: { dealyMs: 1 } },
    { type: "d", payload: {}, options: undefined, queue: undefined },
  ]);
  const outcomes = await clientOfNobody().submitMany(parts, { timeoutMs: 50 });
  expect(outcomes).toMatchObject([
    { error: { field: "queue", hint: "Write options: { queue: ... }." } },
    { error: { field: "option", hint: "Did you mean options?" } },
    { error: { field: "options.dealyMs", hint: "Did you mean delayMs?" } },
    { error: { id: "deadline_exceeded" } },
  ]);
});

it("names a wrong option of a client, a worker and a handler", () => {
  const misspelt = /expected only known options, got adress\. Did you mean address\?/;
  expect(() => createClient(wrong({ adress: "h:1" }))).toThrow(misspelt);
  expect(() => createWorker(wrong({ adress: "h:1" }))).toThrow(misspelt);
  const worker = createWorker({ address: "127.0.0.1:1" });
  const handle = () => worker.handle("a", () => 1, wrong({ queues: ["mail"] }));
  expect(handle).toThrow(/handle a: expected only known options, got queues\. .*queue\?/);
});
