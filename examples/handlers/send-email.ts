import { createTransport } from "nodemailer";
import { z } from "zod";
import { readPayload } from "../lib/payload.js";
import { permanent, transient, type SampleHandler, type TaskContext } from "../lib/sdk.js";

/** Header fields end at a line break, so one in a subject would write headers of its own. */
const singleLine = /^[^\p{Cc}\u2028\u2029]*$/u;

const emailSchema = z.object({
  recipient: z.email("one address such as user@example.com was expected").max(254),
  subject: z
    .string()
    .min(1)
    .max(500)
    .regex(singleLine, "one line without control characters was expected"),
  body: z.string().max(256 * 1024),
});

export interface SendEmailSettings {
  /** Default: SMTP_URL, e.g. smtps://user:password@mail.example.com. */
  smtpUrl?: string;
  /** Default: MAIL_FROM, else drover@localhost. */
  from?: string;
}

export interface SendEmailResult {
  /** The same for every attempt of a task, so that a mailbox can tell a repetition. */
  message_id: string;
  accepted: string[];
  /** What the mail server answered. */
  response: string;
}

/**
 * Sends one plain text mail. Sending cannot be made idempotent, but the Message-ID can: it is made
 * of the task id.
 */
export function createSendEmail(settings: SendEmailSettings = {}): SampleHandler<SendEmailResult> {
  return {
    type: "send_email",
    async handle(payload, context) {
      const mail = readPayload(emailSchema, payload);
      const url = settings.smtpUrl ?? process.env["SMTP_URL"];
      // Another worker may be set up better than this one, so the task is worth another attempt.
      if (!url) throw transient("not_configured", "SMTP_URL is not set on this worker");
      const from = settings.from ?? process.env["MAIL_FROM"] ?? "drover@localhost";
      return await send(url, { ...mail, from }, context);
    },
  };
}

async function send(
  url: string,
  mail: z.output<typeof emailSchema> & { from: string },
  context: TaskContext,
): Promise<SendEmailResult> {
  context.signal.throwIfAborted();
  const transport = createTransport({
    url,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 30_000,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  try {
    const sent = await transport.sendMail({
      from: mail.from,
      to: { name: "", address: mail.recipient },
      subject: mail.subject,
      text: mail.body,
      messageId: `<${context.taskId}@drover.local>`,
      headers: { "X-Drover-Task": context.taskId },
      signal: context.signal,
    });
    return { message_id: sent.messageId, accepted: [mail.recipient], response: sent.response };
  } catch (error) {
    context.signal.throwIfAborted();
    throw failureOf(error);
  } finally {
    transport.close();
  }
}

function failureOf(thrown: unknown) {
  const error = thrown as { permanent?: boolean; responseCode?: number; code?: string };
  const reason = error.responseCode
    ? `SMTP reply ${error.responseCode}`
    : (error.code ?? "unknown");
  // 5xx is the server's word for "never"; a lost connection or a 4xx may pass.
  return error.permanent
    ? permanent("mail_refused", `the mail server refused the mail: ${reason}`)
    : transient("mail_failed", `the mail server could not be used: ${reason}`);
}

export default createSendEmail();
