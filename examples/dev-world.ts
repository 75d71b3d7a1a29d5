import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import * as path from "node:path";
import { start as startMailCatcher } from "./servers/mail-catcher.js";
import { start as startSampleServer } from "./servers/sample-server.js";

export interface DevWorldOptions {
  /** Files of the handlers go below it, to `output`. */
  dataDir: string;
}

export interface DevWorld {
  /**
   * What the sample handlers read; belongs in the environment of the worker, before its first task.
   */
  env: {
    SMTP_URL: string;
    MAIL_FROM: string;
    DROVER_FETCH_ALLOW: string;
    WEBHOOK_SECRET: string;
    DROVER_OUTPUT_DIR: string;
  };
  /** The mail catcher's page; `/mails` is JSON. */
  mailUrl: string;
  /** The sample server: pictures, and the receiver of webhooks. */
  sampleUrl: string;
  stop(): Promise<void>;
}

/** The outside world of the sample handlers, on free ports of the loopback address. */
export async function startDevWorld(options: DevWorldOptions): Promise<DevWorld> {
  const output = path.resolve(options.dataDir, "output");
  await mkdir(output, { recursive: true });
  const secret = `whsec_${randomBytes(32).toString("base64")}`;
  const catcher = await startMailCatcher();
  const sample = await startSampleServer({ secret }).catch(async (error: unknown) => {
    await catcher.stop();
    throw error;
  });
  return {
    env: {
      SMTP_URL: `smtp://127.0.0.1:${catcher.smtpPort}`,
      MAIL_FROM: "drover@example.com",
      // These two and nothing else: the rest of the loopback address stays out of reach of
      // payloads.
      DROVER_FETCH_ALLOW: `127.0.0.1:${sample.port},127.0.0.1:${catcher.httpPort}`,
      WEBHOOK_SECRET: secret,
      DROVER_OUTPUT_DIR: output,
    },
    mailUrl: catcher.url,
    sampleUrl: sample.url,
    stop: async () => {
      await Promise.all([catcher.stop(), sample.stop()]);
    },
  };
}
