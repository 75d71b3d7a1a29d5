import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerDataStream } from "smtp-server";
import { escapeHtml, json, page, serveLoopback, type Running } from "./http.js";
import { readMail } from "./mime.js";

export interface CaughtMail {
  from: string;
  to: string[];
  subject: string;
  text: string;
  message_id: string;
  /** Value of X-Drover-Task: which task sent it. */
  task_id: string;
  received_at: string;
}

export interface MailCatcher {
  smtpPort: number;
  httpPort: number;
  /** Where the mails are shown: `/` for people, `/mails` as JSON. */
  url: string;
  /** Latest last. */
  mails: () => readonly CaughtMail[];
  stop(): Promise<void>;
}

export interface MailCatcherOptions {
  /** SMTP; 0, the default, picks a free one. */
  port?: number;
  /** HTTP; 0, the default, picks a free one. */
  httpPort?: number;
  /** How many mails are kept; older ones go. Default 100. */
  keep?: number;
}

const maxMailBytes = 1024 * 1024;

/**
 * A mail server that delivers nothing: it takes every mail on the loopback address and shows it.
 */
export async function start(options: MailCatcherOptions = {}): Promise<MailCatcher> {
  const mails: CaughtMail[] = [];
  const keep = options.keep ?? 100;
  const smtp = await listenSmtp(options.port ?? 0, (mail) => {
    mails.push(mail);
    mails.splice(0, mails.length - keep);
  });
  const web = await serveLoopback(options.httpPort ?? 0, (_request, url) => {
    if (url.pathname === "/mails") return json({ mails });
    if (url.pathname === "/") return page("Caught mail", mails.map(mailHtml).toReversed().join(""));
    return json({ error: "not found; try / or /mails" }, 404);
  }).catch(async (error: unknown) => {
    await smtp.stop();
    throw error;
  });
  return {
    smtpPort: smtp.port,
    httpPort: web.port,
    url: `http://127.0.0.1:${web.port}`,
    mails: () => mails,
    stop: async () => {
      await Promise.all([smtp.stop(), web.stop()]);
    },
  };
}

async function listenSmtp(port: number, onMail: (mail: CaughtMail) => void): Promise<Running> {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["AUTH", "STARTTLS"],
    disableReverseLookup: true,
    logger: false,
    size: maxMailBytes,
    maxClients: 50,
    closeTimeout: 1_000,
    onData(stream, session, answer) {
      const { mailFrom, rcptTo } = session.envelope;
      const envelope = {
        from: mailFrom ? mailFrom.address : "",
        to: rcptTo.map(({ address }) => address),
      };
      const refusal = receive(stream, envelope, onMail).catch((error: Error) => error);
      void refusal.then(answer);
    },
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve());
  });
  // A client that hangs up in the middle is its own affair.
  server.on("error", () => undefined);
  return {
    port: (server.server.address() as AddressInfo).port,
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

async function receive(
  stream: SMTPServerDataStream,
  envelope: Pick<CaughtMail, "from" | "to">,
  onMail: (mail: CaughtMail) => void,
): Promise<Error | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    // The rest is read and dropped: the client only listens once it has sent everything.
    if (bytes <= maxMailBytes) chunks.push(chunk);
  }
  if (bytes > maxMailBytes) {
    return Object.assign(new Error("mail too large"), { responseCode: 552 });
  }
  const { headers, text } = readMail(Buffer.concat(chunks));
  onMail({
    ...envelope,
    subject: headers.get("subject") ?? "",
    text,
    message_id: headers.get("message-id") ?? "",
    task_id: headers.get("x-drover-task") ?? "",
    received_at: new Date().toISOString(),
  });
  return null;
}

const mailHtml = (mail: CaughtMail): string =>
  `<h2>${escapeHtml(mail.subject)}</h2>
<p>${escapeHtml(mail.from)} to ${escapeHtml(mail.to.join(", "))}, ${mail.received_at}</p>
<pre>${escapeHtml(mail.text)}</pre>`;
