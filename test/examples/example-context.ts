import { mkdtempSync, rmSync } from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, expect } from "vitest";
import type { TaskContext } from "../../examples/lib/sdk.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

/** Runs after the present test, the latest first. */
export const afterTest = (cleanup: () => unknown): void => void cleanups.push(cleanup);

export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "drover-examples-"));
  afterTest(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export const taskId = "0190a6f2-0000-7000-8000-000000000001";

export function contextOf(changes: Partial<TaskContext> = {}): TaskContext {
  return {
    taskId,
    fencingToken: 1,
    signal: new AbortController().signal,
    progress: () => undefined,
    ...changes,
  };
}

export interface TestServer {
  port: number;
  url: string;
  /** Connections made so far. */
  connections(): number;
  requests: { method: string; path: string; headers: http.IncomingHttpHeaders; body: string }[];
}

/**
 * A server of this test alone. It counts connections, so that a test can tell that none was made.
 */
export async function testServer(
  answer: (request: http.IncomingMessage, response: http.ServerResponse) => void,
): Promise<TestServer> {
  const requests: TestServer["requests"] = [];
  let connections = 0;
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      requests.push({ method, path: url, headers, body: Buffer.concat(chunks).toString() });
      answer(request, response);
    });
  });
  server.on("connection", () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  afterTest(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}`, connections: () => connections, requests };
}

/**
 * Expects a failure for good (`retryable` false) or for now, with this code, and returns its
 * message.
 */
export async function failureOf(
  work: Promise<unknown>,
  code: string,
  retryable: boolean,
): Promise<{ message: string; retryAfterMs?: number }> {
  const error: unknown = await work.then(
    (value) => expect.fail(`expected ${code}, but it gave ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code, retryable });
  return error as { message: string; retryAfterMs?: number };
}
