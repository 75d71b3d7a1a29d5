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

it("takes an option that there is not for none where it has no value", async () => {
  const options = wrong<{ timeoutMs: number }>({ other: undefined, uniqueKey: "a", timeoutMs: 50 });
  await expect(clientOfNobody().submit("send", {}, options)).rejects.toMatchObject({
    id: "deadline_exceeded",
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

it.each([
  ["localhost:50051", "createClient: expected an object of options, got localhost:50051"],
  [null, "createClient: expected an object of options, got null"],
  [{ address: 50_051 }, 'address: expected host:port such as localhost:50051, got "50051"'],
])("makes no client of %j", (options, message) => {
  expect(() => createClient(wrong(options))).toThrow(message);
});

it("names a wrong option of a client, a worker and a handler", () => {
  const misspelt = /expected only known options, got adress\. Did you mean address\?/;
  expect(() => createClient(wrong({ adress: "h:1" }))).toThrow(misspelt);
  expect(() => createWorker(wrong({ adress: "h:1" }))).toThrow(misspelt);
  const worker = createWorker({ address: "127.0.0.1:1" });
  const handle = () => worker.handle("a", () => 1, wrong({ queues: ["mail"] }));
  expect(handle).toThrow(/handle a: expected only known options, got queues\. .*queue\?/);
});

it.each([
  ["priority", "high", '0 (low) to 3 (critical), as in priorities, got "high"'],
  ["maxRetries", 1.5, "a whole number, got 1.5"],
  ["runAt", "tomorrow", 'a Date, got "tomorrow"'],
  ["runAt", new Date(Number.NaN), "a Date, got Invalid Date"],
  ["deadline", 5, "a Date, got 5"],
  ["delayMs", "5", 'a number of ms, got "5"'],
  ["retentionMs", Number.NaN, "a number of ms, got NaN"],
  ["tags", "urgent", 'a list of texts, got "urgent"'],
  ["requiredLabels", ["gpu"], "an object of texts, got [ 'gpu' ]"],
  ["queue", () => "mail", "a text, got [Function (anonymous)]"],
  ["signal", {}, "an AbortSignal, got {}"],
  ["timeoutMs", -1, "a number of ms, 0 or more, got -1"],
  ["timeoutMs", Number.NaN, "a number of ms, 0 or more, got NaN"],
])("submits nothing where %s is %s, and says what it takes", async (name, value, words) => {
  const submit = clientOfNobody().submit("send", {}, wrong({ [name]: value }));
  await expect(submit).rejects.toMatchObject({
    id: "invalid_field",
    field: `options.${name}`,
    message: `options.${name}: expected ${words}`,
  });
});

it.each([() => 1, Symbol("x")])("takes no payload that has no JSON: %s", async (payload) => {
  const message = `the payload cannot be written as JSON: a ${typeof payload} has none`;
  await expect(clientOfNobody().submit("send", payload)).rejects.toMatchObject({ message });
});

it("refuses what is no list of tasks, and no task of a list", async () => {
  const client = clientOfNobody();
  for (const tasks of [undefined, {}, "tasks"]) {
    await expect(client.submitMany(wrong(tasks))).rejects.toThrow("expected a list of tasks");
  }
  const outcomes = await client.submitMany(wrong([null, "a", { type: "a", payload: 1 }]), {
    timeoutMs: 50,
  });
  expect(outcomes).toMatchObject([
    { error: { message: "task: expected { type, payload, options }, got null" } },
    { error: { message: 'task: expected { type, payload, options }, got "a"' } },
    { error: { id: "deadline_exceeded" } },
  ]);
});

it("names what is no task where one is to be read", async () => {
  const client = clientOfNobody();
  await expect(client.get(wrong<string>(undefined))).rejects.toThrow("task: expected an id");
  await expect(client.cancel(wrong<string>({}))).rejects.toThrow("task: expected an id");
  expect(() => client.wait(wrong<string>(null))).toThrow("task: expected an id");
  expect(() => client.watch(wrong<string>([5]))).toThrow("task: expected an id");
});

it.each([
  [{ queue: "mail", stauts: "failed" }, "filter: expected only known options, got stauts"],
  [{ queue: "mail", status: "faild" }, 'status: expected one of blocked, .*, got "faild"'],
  [{ queue: "mail", status: ["failed", "x"] }, 'status: expected one of .*, got "x"'],
  ["failed", "filter: expected an object of options, got failed"],
  [{ status: "failed", batchId: "" }, "filter.batchId: expected a value, .*, got an empty one"],
  [{ queue: "mail", status: [] }, "filter.status: expected a value"],
])("acts on no tasks that %j may not have meant", async (filter, message) => {
  const client = clientOfNobody();
  for (const many of ["cancelMany", "purgeMany", "retryMany"] as const) {
    await expect(client[many](wrong(filter))).rejects.toThrow(new RegExp(message));
  }
});

it("lists no tasks by what there is not", async () => {
  const client = clientOfNobody();
  await expect(client.listPage(wrong({ stauts: "failed" }))).rejects.toThrow(/got stauts/);
  await expect(client.list(wrong({ status: "faild" })).next()).rejects.toThrow(/got "faild"/);
});
