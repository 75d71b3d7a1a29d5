import { expect, it } from "vitest";
import { DroverClientError, type Client, type SubmitOptions } from "../../src/client/index.js";
import { systemClock } from "../../src/clock.js";
import { startCoordinator, startWorker } from "../support/processes.js";
import { type OwnServer, ownRedis } from "../support/stores.js";
import {
  drained,
  expectNoOrphans,
  type Ledger,
  openLedger,
  soak,
  storyClient,
  storyStores,
  until,
} from "../support/story.js";

const producers = 4;
const rounds = soak ? 10 : 1;
const answersPerPhase = 100;

/** What was answered, by kind; and what must never have been. */
interface Answers {
  readonly ids: Set<string>;
  readonly kinds: Record<string, number>;
  readonly wrong: string[];
}

const shared = ["a", "b", "c"];
/** One key is of a RELAXED queue. */
const queueOf = (uniqueKey: string): string => (uniqueKey === "c" ? "relaxed" : "default");
const replace = { onConflict: "replace" } as const;
/** Each turn another way to meet whoever holds the key. */
const policies: readonly NonNullable<SubmitOptions["unique"]>[] = [
  replace,
  { onConflict: "return_existing" },
  { onConflict: "debounce", windowMs: 1_000 },
  { onConflict: "reject" },
];

it(`holds each key by one task while coordinators and Redis die, ${rounds} times`, async () => {
  const redis = await ownRedis();
  const stores = await storyStores({ redis });
  const serve = () => startCoordinator(stores.env);
  let [alive, doomed] = await Promise.all([serve(), serve()]);
  const addresses = [alive.grpc, doomed.grpc];
  const env = { WORKER_CONCURRENCY: "20", STORY_QUEUES: "default,relaxed" };
  const worker = await startWorker(addresses, env);
  const client = storyClient(addresses);
  await client.queues.update("relaxed", { durability: "relaxed" });
  const ledger = openLedger(stores);
  const ending = new AbortController();
  const answers: Answers = { ids: new Set(), kinds: {}, wrong: [] };
  const work = [
    ...Array.from({ length: producers }, (_, n) => race(client, answers, n, ending.signal)),
    alone(client, answers, ending.signal),
    held(client, answers, ending.signal),
    watch(ledger, answers, ending.signal),
  ];
  const more = (count: number) => moreAnswers(answers, count);

  await more(answersPerPhase);
  for (let round = 0; round < rounds; round += 1) {
    const { port } = new URL(`http://${doomed.grpc}`);
    await doomed.kill();
    await more(answersPerPhase);
    [alive, doomed] = [await startCoordinator({ ...stores.env, GRPC_PORT: port }), alive];
    // It keeps nothing: restarted, it is also emptied.
    await restart(redis);
    await more(answersPerPhase);
  }
  await untilOften(ledger, answers);
  ending.abort();
  await Promise.all(work);
  expect(answers.wrong).toEqual([]);

  await cancelHeld(client);
  await drained(ledger, answers.ids.size, 30_000);
  await expectOneAtATime(ledger, answers.ids);
  // No key has outlived its task.
  for (const uniqueKey of [...shared, "held", "alone"]) {
    const queue = queueOf(uniqueKey);
    const { status } = await client.submit("noop", {}, { queue, uniqueKey });
    expect([uniqueKey, status]).toEqual([uniqueKey, "submitted"]);
  }
  await drained(ledger, answers.ids.size, 30_000);
  await worker.stop();
  // Its session ends 15 s after it.
  if (soak) await expectNoOrphans(stores);
}, 600_000);

async function restart(redis: OwnServer): Promise<void> {
  await redis.kill();
  // The outage itself: submissions meet a store that is away.
  await systemClock.sleep(500);
  await redis.restart();
}

async function moreAnswers({ kinds }: Answers, count: number): Promise<void> {
  const all = () => Object.values(kinds).reduce((sum, each) => sum + each, 0);
  const goal = all() + count;
  await until(
    `${count} more answers`,
    async () => all() >= goal,
    60_000,
    () => kinds,
  );
}

const note = ({ kinds }: Answers, kind: string): void => {
  kinds[kind] = (kinds[kind] ?? 0) + 1;
};

/** One of many who want the same keys. */
async function race(client: Client, answers: Answers, seed: number, ending: AbortSignal) {
  for (let n = seed; !ending.aborted; n += 1) {
    const uniqueKey = shared[n % shared.length]!;
    const unique = policies[(n * 7 + seed) % policies.length]!;
    try {
      const options = { queue: queueOf(uniqueKey), uniqueKey, unique };
      const { id, status } = await client.submit("sleep", { ms: 30 }, options);
      note(answers, status);
      answers.ids.add(id);
    } catch (error) {
      const id = error instanceof DroverClientError ? error.id : String(error);
      note(answers, id);
      if (id !== "unique_conflict") answers.wrong.push(`race: ${String(error)}`);
    }
  }
}

/** A key that nobody else wants is free as soon as its task is seen to have ended. */
async function alone(client: Client, answers: Answers, ending: AbortSignal) {
  const unique = { onConflict: "reject" } as const;
  while (!ending.aborted) {
    try {
      const { id } = await client.submit("sleep", { ms: 10 }, { uniqueKey: "alone", unique });
      answers.ids.add(id);
      const { status } = await client.wait(id, { timeoutMs: 120_000 });
      if (status !== "completed") answers.wrong.push(`alone: ${id} ended ${status}`);
    } catch (error) {
      answers.wrong.push(`alone: ${String(error)}`);
      return;
    }
  }
}

const heldOptions = { uniqueKey: "held", delayMs: 3_600_000 };

/** A task that waits keeps its key, whatever happens meanwhile. */
async function held(client: Client, answers: Answers, ending: AbortSignal) {
  const first = await client.submit("noop", {}, heldOptions);
  answers.ids.add(first.id);
  while (!ending.aborted) {
    const { id, status } = await client.submit("noop", {}, heldOptions);
    if (id !== first.id || status !== "existing") answers.wrong.push(`held: ${status} ${id}`);
    await systemClock.sleep(50);
  }
}

async function cancelHeld(client: Client): Promise<void> {
  const { id } = await client.submit("noop", {}, heldOptions);
  await client.cancel(id);
}

const keyColumn = "spec->'terms'->'unique'->>'key'";

const kinds = ["submitted", "existing", "replaced", "debounced", "unique_conflict"];

/** Resolves when each way to be answered was met, and each key had several tasks. */
async function untilOften(ledger: Ledger, answers: Answers): Promise<void> {
  const sql = `SELECT ${keyColumn} AS key, count(*)::int AS ran FROM $.tasks
    WHERE started_at IS NOT NULL AND ended_at IS NOT NULL GROUP BY 1`;
  let ran = new Map<unknown, number>();
  const often = async (): Promise<boolean> => {
    ran = new Map((await ledger.query(sql)).map((row) => [row.key, Number(row.ran)]));
    return (
      kinds.every((kind) => (answers.kinds[kind] ?? 0) >= 2) &&
      [...shared, "alone"].every((key) => (ran.get(key) ?? 0) >= 5)
    );
  };
  await until("each answer and key is met", often, 60_000, () => [answers.kinds, [...ran]]);
}

/** At no moment does history show two live tasks of one key. */
async function watch(ledger: Ledger, answers: Answers, ending: AbortSignal) {
  while (!ending.aborted) {
    const twice = await ledger.query(
      `SELECT ${keyColumn} AS key, array_agg(id::text) AS ids FROM $.tasks
       WHERE ended_at IS NULL GROUP BY 1 HAVING count(*) > 1`,
    );
    for (const row of twice) answers.wrong.push(`two at once: ${JSON.stringify(row)}`);
    await systemClock.sleep(20);
  }
}

interface KeyedRow {
  readonly id: string;
  readonly key: string;
  readonly status: string;
  readonly started: number | null;
  readonly completed: number | null;
  readonly reason: string | null;
}

/**
 * Every acknowledged task stands, and ran to its end or gave way to one that stands; no two of a
 * key ran at the same time by the clock of Redis.
 */
async function expectOneAtATime(ledger: Ledger, acknowledged: ReadonlySet<string>) {
  const rows = (await ledger.query(
    `SELECT id::text, ${keyColumn} AS key, status, started_at::float AS started,
       completed_at::float AS completed, extra->'cancellation'->>'reason' AS reason FROM $.tasks`,
  )) as unknown as KeyedRow[];
  const known = new Set(rows.map(({ id }) => id));
  expect([...acknowledged].filter((id) => !known.has(id))).toEqual([]);
  const heirOf = ({ reason }: KeyedRow): string =>
    /task ([0-9a-f-]{36})/.exec(reason ?? "")?.[1] ?? "";
  const lost = rows.filter((row) => row.status !== "completed" && !known.has(heirOf(row)));
  expect(lost.filter(({ key }) => key !== "held")).toEqual([]);
  const ran = rows.filter(({ started }) => started !== null);
  const byStart = ran.toSorted((a, b) => a.started! - b.started!);
  for (const key of [...shared, "alone"]) {
    const mine = byStart.filter((row) => row.key === key);
    const early = mine.filter((row, n) => n > 0 && row.started! < mine[n - 1]!.completed!);
    expect(early).toEqual([]);
  }
}
