import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import pg from "pg";
import sharp from "sharp";
import type { ExportDataResult } from "./handlers/export-data.js";
import type { ProcessImageResult } from "./handlers/process-image.js";
import { parseCsv } from "./lib/csv.js";
import { taskColumns } from "./lib/task-rows.js";
import { openTaskSource } from "./lib/task-source.js";
import type { CaughtMail } from "./servers/mail-catcher.js";
import type { ReceivedHook } from "./servers/sample-server.js";

/** A finished task as any surface shows it. */
export interface FinishedTask {
  id: string;
  type: string;
  payload: unknown;
  result: unknown;
}

export interface Effect {
  name: string;
  ok: boolean;
  /** What was seen, or what was missing. For people. */
  evidence: string;
}

/**
 * How many tasks there are whose id is not above this one, by a way that the exporting worker has
 * no part in.
 */
export type CountTasks = (lastId: string) => Promise<number>;

export interface EffectsWorld {
  mailUrl: string;
  sampleUrl: string;
  countTasks: CountTasks;
}

const checks = new Map<
  string,
  [string, (task: FinishedTask, world: EffectsWorld) => Promise<string>]
>([
  ["send_email", ["mail", seeMail]],
  ["process_image", ["image", seeImage]],
  ["export_data", ["export", seeExport]],
  ["call_webhook", ["webhook", seeWebhook]],
]);

/**
 * Looks from outside the worker whether the tasks had their effects: one entry for each sample
 * type, a failed one where no task of the type is given. Never throws for an effect that is
 * missing.
 */
export async function checkEffects(
  tasks: readonly FinishedTask[],
  world: EffectsWorld,
): Promise<Effect[]> {
  return await Promise.all(
    [...checks].map(async ([type, [name, see]]) => {
      try {
        const task = tasks.find((candidate) => candidate.type === type);
        need(task !== undefined, `no ${type} task was given`);
        return { name, ok: true, evidence: await see(task, world) };
      } catch (error) {
        return {
          name,
          ok: false,
          evidence: error instanceof Error ? error.message : String(error),
        };
      }
    }),
  );
}

async function seeMail(task: FinishedTask, { mailUrl }: EffectsWorld): Promise<string> {
  const { recipient, subject } = task.payload as { recipient: string; subject: string };
  const { mails } = await getJson<{ mails: CaughtMail[] }>(`${mailUrl}/mails`);
  const mail = mails.find((candidate) => candidate.task_id === task.id);
  need(mail !== undefined, `none of ${mails.length} caught mails is of task ${task.id}`);
  need(mail.subject === subject, `the mail has the subject "${mail.subject}", not "${subject}"`);
  need(mail.to.includes(recipient), `the mail went to ${mail.to.join(", ")}, not ${recipient}`);
  return `the catcher holds "${mail.subject}" to ${recipient}`;
}

async function seeImage(task: FinishedTask): Promise<string> {
  const work = task.payload as { image_url: string; width?: number; height?: number };
  const result = task.result as ProcessImageResult;
  const file = await readFile(result.path);
  const source = Buffer.from(await (await getOk(work.image_url)).arrayBuffer());
  need(sha256(file) === result.sha256, "the file is not the one of the result: sha256 differs");
  need(sha256(file) !== sha256(source), "the file is the source, unchanged");
  // Reads every pixel: a header alone proves nothing.
  const { info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
  const before = await sharp(source).metadata();
  const asked = work.width ?? (work.height === undefined ? 320 : undefined);
  const width = asked ?? Math.round((before.width * (work.height ?? 0)) / before.height);
  const height = work.height ?? Math.round((before.height * width) / before.width);
  const size = `${info.width}x${info.height}`;
  need(info.width === width && info.height === height, `it is ${size}, not ${width}x${height}`);
  need(`${before.width}x${before.height}` !== size, `it has the size of its source, ${size}`);
  return `${result.path} decodes, ${before.width}x${before.height} became ${size}`;
}

async function seeExport(task: FinishedTask, { countTasks }: EffectsWorld): Promise<string> {
  const result = task.result as ExportDataResult;
  const file = await readFile(result.path);
  need(sha256(file) === result.sha256, "the file is not the one of the result: sha256 differs");
  const [header = [], ...records] = parseCsv(file.toString("utf8"));
  need(header.join() === taskColumns.join(), `the header is ${header.join()}`);
  const ids = records.map(([id = ""]) => id);
  need(new Set(ids).size === ids.length, "a task stands in it twice");
  need(ids.includes(task.id), "the export itself is missing, which was running then");
  const last = ids.reduce((highest, id) => (id > highest ? id : highest), "");
  const counted = await countTasks(last);
  need(counted === records.length, `it has ${records.length} rows, and ${counted} were counted`);
  return `${result.path} holds ${records.length} tasks, as many as were counted`;
}

async function seeWebhook(task: FinishedTask, { sampleUrl }: EffectsWorld): Promise<string> {
  const { method, body } = task.payload as { method: string; body: unknown };
  const { hooks } = await getJson<{ hooks: ReceivedHook[] }>(`${sampleUrl}/hooks`);
  const own = hooks.filter((candidate) => candidate.task_id === task.id);
  const hook = own.find(({ verified }) => verified) ?? own[0];
  need(hook !== undefined, `none of ${hooks.length} received webhooks is of task ${task.id}`);
  need(hook.verified, `the receiver did not verify the signature: ${hook.fault}`);
  need(hook.method === method, `it was called by ${hook.method}, not ${method}`);
  need(hook.body === JSON.stringify(body), "another body was received than the task holds");
  return `the receiver verified the signature of ${hook.method} ${hook.path}`;
}

export interface SqlCount {
  databaseUrl: string;
  /** Where Drover's tables are. Default `drover`. */
  schema?: string;
  /** Default `default`. */
  namespace?: string;
}

/** Counts in Postgres itself. */
export function countBySql(options: SqlCount): CountTasks {
  const schema = pg.escapeIdentifier(options.schema ?? "drover");
  return async (lastId) => {
    const client = new pg.Client({ connectionString: options.databaseUrl });
    await client.connect();
    try {
      const { rows } = await client.query<{ count: string }>(
        `SELECT count(*) FROM ${schema}.tasks WHERE namespace = $1 AND id <= $2`,
        [options.namespace ?? "default", lastId],
      );
      return Number(rows[0]?.count);
    } finally {
      await client.end();
    }
  };
}

/** Counts by a listing of its own, where no Postgres is (`drover dev --memory`). */
export function countByClient(address: string): CountTasks {
  return async (lastId) => {
    const source = openTaskSource(address);
    const signal = AbortSignal.timeout(30_000);
    try {
      let count = 0;
      let pageToken = "";
      do {
        const page = await source.page({}, pageToken, signal);
        count += page.rows.filter(({ id }) => id <= lastId).length;
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      return count;
    } finally {
      await source.close();
    }
  };
}

function need(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}

async function getOk(url: string): Promise<Response> {
  const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
  need(response.ok, `${url} answered ${response.status}`);
  return response;
}

const getJson = async <T>(url: string): Promise<T> => (await (await getOk(url)).json()) as T;
const sha256 = (data: Buffer): string => createHash("sha256").update(data).digest("hex");
